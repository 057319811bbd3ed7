"""Photographs: read, encode, caption, search and serve them; the album and its tables."""
