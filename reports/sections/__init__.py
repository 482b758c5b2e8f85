"""Sections that need more than their template: figures with captions, and values. ``contents.py`` has their order."""
