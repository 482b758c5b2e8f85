"""One run: the loop, the decisions that it stops for, and what they do to the simulated machine."""
