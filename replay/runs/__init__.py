"""Many runs: which are wanted, which are missing, the processes that make them, the way into the warehouse."""
