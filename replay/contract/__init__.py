"""What a strategy is made of: the actions it may ask for, its parameters, its place in the registry."""
