"""Figures: each module takes a frame of numbers and returns a Matplotlib figure; ``style`` writes it."""
