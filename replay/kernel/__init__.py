"""The Linux side of a replay: page allocator and direct map, with the kernel's own names."""
