"""HTML pages: runs, also while they are trained, data sets, and captions with attention; templates of serve."""
