"""The machine before the first event, from snapshots; what they leave open is assumed and said, or drawn by seed."""
