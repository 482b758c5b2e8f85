"""The Linux side of a replay: page allocator and direct map, in the kernel's own words."""
