"""The model compared with what real kernels did."""
