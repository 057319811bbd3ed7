"""Data sets: captions and image features from every kind of source."""
