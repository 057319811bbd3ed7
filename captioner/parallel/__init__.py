"""Parallel computation: the thread pool, BLAS threads, MPI ranks, cores and memory allocation."""
