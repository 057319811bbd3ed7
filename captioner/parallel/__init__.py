"""Parallel computation: the thread pool, BLAS threads and memory allocation."""
