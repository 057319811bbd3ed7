"""Reports of runs as self-contained HTML pages: curves, scores, captions, vocabulary and comparisons."""
