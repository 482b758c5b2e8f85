"""Records a bundle on this machine: page events, what /proc says before and after, and what the machine is."""
