"""The risk of running out of memory, measured where memory is short and fragmented."""
