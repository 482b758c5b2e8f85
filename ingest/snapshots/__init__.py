"""What lies next to a trace: /proc files, page tables, symbols, and what they tell of the recorded machine."""
