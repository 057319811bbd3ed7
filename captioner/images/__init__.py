"""Image encoders: photographs -> feature vectors. Needs the extra `images` (Pillow and onnxruntime)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from captioner.errors import DataError, MissingLibraryError, UsageError, library_of
from captioner.images.recipe import SHORT_NAMES, Part, parse_recipe

if TYPE_CHECKING:  # needs Pillow, and open_encoder reports a missing one
    from captioner.images.encoders import Encoder

ENCODERS: dict[str, tuple[str, str]] = {
    "scenes": ("captioner.images.encoders", "open_scenes"),
    "efficientnet-lite0": ("captioner.images.efficientnet", "open_efficientnet"),
    "efficientnet-lite2": ("captioner.images.efficientnet", "open_efficientnet"),
    "onnx": ("captioner.images.onnx", "open_onnx"),
}
"""Encoders by name: a module, imported on first use, and its function (name, file, options) -> Encoder."""
MAX_PARTS = 16
"""Maximum number of encoders in a recipe, which bounds the memory that the identity in a checkpoint can ask for."""


def open_encoder(recipe: str) -> Encoder:
    """Open the encoder of a recipe, such as `NAME`, `onnx:FILE` or `NAME:size=288+NAME`.

    Raises: UsageError for the recipe, an unknown name, or missing libraries; DataError for a file.
    """
    return open_parts(parse_recipe(recipe))


def open_parts(parts: Sequence[Part]) -> Encoder:
    """Open the encoder that concatenates the features of the parts of a recipe.

    Raises: UsageError and DataError, as `open_encoder`.
    """
    if len(parts) > MAX_PARTS:
        raise UsageError(f"encoder: expected at most {MAX_PARTS} encoders joined by +, got {len(parts):,}")
    encoders = [_open_part(part) for part in parts]
    if len(encoders) == 1:
        return encoders[0]
    from captioner.images.encoders import ConcatenatedEncoder  # needs Pillow

    return ConcatenatedEncoder(encoders)


def _open_part(part: Part) -> Encoder:
    if part.name not in ENCODERS:
        known = ", ".join((*ENCODERS, *SHORT_NAMES)).replace("onnx", "onnx:FILE")
        raise UsageError(f"encoder {part}: expected {known}, got {part.name or 'nothing'}")
    module, function = ENCODERS[part.name]
    try:
        opener: Callable[[str, str, Mapping[str, str]], Encoder] = getattr(import_module(module), function)
        return opener(part.name, part.file, part.options)
    except ImportError as error:
        if library_of(error) is None:
            raise
        raise MissingLibraryError(error, f"encoder {part}: ") from error
    except MemoryError as error:
        raise DataError(f"encoder {part}: not enough memory to open it") from error
