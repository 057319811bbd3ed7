"""Benchmarks of captioner against PyTorch, the loops of CS231n's assignment and the bare matrix products."""
