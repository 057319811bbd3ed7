"""Scores of captions: a model's, and those in a file; gradient norms of a model."""
