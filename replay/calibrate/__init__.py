"""What translation and permission changes cost on the machine that this runs on."""
