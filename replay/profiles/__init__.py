"""Kernels, machines, costs and limits as data files, and the reader of cost profiles."""
