"""The assignment's `cs231n/layers.py`: the affine layer."""

from captioner.layers.affine import affine_backward, affine_forward

__all__ = ["affine_backward", "affine_forward"]
