"""Parallel computation: the thread pool, BLAS threads, hardware and memory allocation."""
