"""The files next to a trace: /proc snapshots, page tables, symbols, and what they say about the recorded machine."""
