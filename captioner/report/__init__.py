"""HTML pages: runs, data sets, and captions with attention; templates of serve."""
