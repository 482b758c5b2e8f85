"""The model held against what real kernels did."""
