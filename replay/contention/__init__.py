"""How many CPUs a pool of page tables can serve before its locks cost too much."""
