"""The assignment's `cs231n/classifiers` package."""
