"""Parallel computation: the thread pool and BLAS threads."""
