"""Fixtures of model packages."""

from packaged import bird_package, birds

__all__ = ["bird_package", "birds"]
