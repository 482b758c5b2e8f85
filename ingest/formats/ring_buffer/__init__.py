"""The kernel's trace ring buffer, as trace.dat and trace_pipe_raw carry it: its pages, its clocks, the rows in them."""
