"""Scores of captions: a model's, those in a file, and a nearest-neighbour baseline; gradient norms of a model."""
