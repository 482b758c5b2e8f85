"""Exhaustive search for the sequence of events that breaks a strategy."""
