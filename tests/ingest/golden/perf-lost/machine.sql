SELECT kernel_release, arch, cpus, lost_events, has_stacks, timing, format, first_ns, last_ns FROM capture
