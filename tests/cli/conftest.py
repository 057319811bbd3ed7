"""Fixtures of commands: photographs in the current folder."""

from scene_photos import photos_here

__all__ = ["photos_here"]
