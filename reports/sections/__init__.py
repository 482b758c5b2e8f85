"""Sections with values or figures of their own; ``contents.py`` has the order of all."""
