"""The lists of the page allocator of a running kernel, in their order, from /proc/kcore: the snapshot free_lists.

Needs root, BTF, and a 64-bit kernel with SPARSEMEM_VMEMMAP; no debug information. Addresses of the kernel are not kept.
"""
