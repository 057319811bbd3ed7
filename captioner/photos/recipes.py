"""Image encoders by name: the recipes that open them.

A recipe is `NAME`, or `onnx:FILE:OPTION...`. FILE ends with the first `.onnx` that is followed by a colon or the end of
the recipe; a file name without `.onnx` extends to the end. The values of options may be percent-encoded.

Opening an encoder needs the extra `images` (Pillow and onnxruntime), recipes and identities do not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING
from urllib.parse import unquote

from captioner.data.encoder_identity import Recipe
from captioner.errors import MissingLibraryError, UsageError, library_of

if TYPE_CHECKING:  # needs Pillow, and open_encoder reports a missing one
    from captioner.photos.encoders import Encoder

ENCODERS: dict[str, tuple[str, str]] = {
    "everyday": ("captioner.photos.onnx", "open_everyday"),
    "onnx": ("captioner.photos.onnx", "open_onnx"),
    "scenes": ("captioner.photos.encoders", "open_scenes"),
}
"""Encoders by name: a module, imported on first use, and its function (name, file, options) -> Encoder."""

_RECIPE = re.compile(
    r"(?:(?P<onnx>onnx):(?P<file>.*?\.(?i:onnx)(?=:|\Z)|.*)|(?P<name>[^:]*))(?P<options>(?::[^:]*)*)", re.DOTALL
)


def parse_recipe(text: str) -> Recipe:
    """Parse a recipe. Raises: UsageError for an unknown name, or a repeated option."""
    match = _RECIPE.fullmatch(text)
    assert match
    options: dict[str, str] = {}
    for option in match["options"].split(":")[1:]:
        key, _, value = option.partition("=")
        if key in options:
            raise UsageError(f"encoder {text}: option {key}: expected at most one, got several")
        options[key] = unquote(value, errors="surrogateescape")
    recipe = Recipe(match["onnx"] or match["name"], match["file"] or "", options)
    if recipe.name not in ENCODERS:
        known = ", ".join(ENCODERS).replace("onnx", "onnx:FILE")
        raise UsageError(f"encoder {text}: expected {known}, got {recipe.name or 'nothing'}")
    return recipe


def open_encoder(text: str) -> Encoder:
    """Open the encoder of a recipe. Raises: UsageError for the recipe or missing libraries; DataError for a file."""
    return open_recipe(parse_recipe(text))


def open_recipe(recipe: Recipe) -> Encoder:
    """Open the encoder of a recipe. Raises: as `open_encoder`."""
    module, function = ENCODERS[recipe.name]
    try:
        opener: Callable[[str, str, Mapping[str, str]], Encoder] = getattr(import_module(module), function)
        return opener(recipe.name, recipe.file, recipe.options)
    except ImportError as error:
        if library_of(error) is None:
            raise
        raise MissingLibraryError(error, f"encoder {recipe}: ") from error
