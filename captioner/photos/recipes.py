"""Image encoders: photographs -> feature vectors; their recipes `PART+PART...`, and the identities of encoders.

A part is `NAME:OPTION...`, or `onnx:FILE:OPTION...`. FILE ends with the first `.onnx` that is followed by a colon, a
plus sign or the end of the recipe; a file name without `.onnx` extends to the end of the recipe. The values of options
may be percent-encoded. An identity has the same form, but a version or the digest of the weights after each name.

Opening an encoder needs the extra `images` (Pillow and onnxruntime), recipes and identities do not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING
from urllib.parse import unquote

from captioner.data.encoder_identity import SHORT_NAMES, Part
from captioner.errors import MissingLibraryError, UsageError, library_of

if TYPE_CHECKING:  # needs Pillow, and open_encoder reports a missing one
    from captioner.photos.encoders import Encoder

ENCODERS: dict[str, tuple[str, str]] = {
    "scenes": ("captioner.photos.encoders", "open_scenes"),
    "efficientnet-lite0": ("captioner.photos.efficientnet", "open_efficientnet"),
    "efficientnet-lite2": ("captioner.photos.efficientnet", "open_efficientnet"),
    "onnx": ("captioner.photos.onnx", "open_onnx"),
}
"""Encoders by name: a module, imported on first use, and its function (name, file, options) -> Encoder."""
MAX_PARTS = 16
"""Maximum number of encoders in a recipe, which bounds the memory that the identity in a checkpoint can ask for."""

_PART = re.compile(
    r"(?:(?P<onnx>onnx):(?P<file>.*?\.(?i:onnx)(?=[:+]|\Z)|.*)|(?P<name>[^:+]*))(?P<options>(?::[^:+]*)*)", re.DOTALL
)


def parse_recipe(recipe: str) -> list[Part]:
    """Parse a recipe. Raises: UsageError for an unknown name or none, a repeated option, or options of a short name."""
    parts, at = [], -1
    while at < len(recipe):
        match = _PART.match(recipe, at + 1)
        assert match
        at = match.end()
        if recipe_of_name := SHORT_NAMES.get(match["name"]):
            if match["options"]:
                raise UsageError(f"encoder {match[0]}: expected no options, as it is short for {recipe_of_name}")
            parts += parse_recipe(recipe_of_name)
            continue
        if not match[0]:
            raise UsageError(f"encoder {recipe}: expected an encoder before and after each +, got nothing")
        options: dict[str, str] = {}
        for option in match["options"].split(":")[1:]:
            key, _, value = option.partition("=")
            if key in options:
                raise UsageError(f"encoder {match[0]}: option {key}: expected at most one, got several")
            options[key] = unquote(value, errors="surrogateescape")
        part = Part(match["onnx"] or match["name"], match["file"] or "", options)
        if part.name not in ENCODERS:
            known = ", ".join((*ENCODERS, *SHORT_NAMES)).replace("onnx", "onnx:FILE")
            raise UsageError(f"encoder {part}: expected {known}, got {part.name or 'nothing'}")
        parts.append(part)
    return parts


def open_encoder(recipe: str) -> Encoder:
    """Open the encoder of a recipe, such as `NAME`, `onnx:FILE` or `NAME:size=288+NAME`.

    Raises: UsageError for the recipe or missing libraries; DataError for a file.
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
    from captioner.photos.encoders import ConcatenatedEncoder  # needs Pillow

    return ConcatenatedEncoder(encoders)


def _open_part(part: Part) -> Encoder:
    module, function = ENCODERS[part.name]
    try:
        opener: Callable[[str, str, Mapping[str, str]], Encoder] = getattr(import_module(module), function)
        return opener(part.name, part.file, part.options)
    except ImportError as error:
        if library_of(error) is None:
            raise
        raise MissingLibraryError(error, f"encoder {part}: ") from error
