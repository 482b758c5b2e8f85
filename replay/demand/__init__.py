"""What a recording asks for: its events, resolved to what a replay has to do."""
