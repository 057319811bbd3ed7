"""Fixtures of photographs in the current folder."""

from scene_photos import new_captions, new_folder, photos_here

__all__ = ["new_captions", "new_folder", "photos_here"]
