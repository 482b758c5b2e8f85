"""Traces as text: compiled scanners, one for each layout, and what they share."""
