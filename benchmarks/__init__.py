"""What captioner costs, beside PyTorch, the assignment's loops and the matrix products alone: `make bench`."""
