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
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote

from captioner.errors import MissingLibraryError, UsageError, library_of

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

SHORT_NAMES = {"richer": "efficientnet-lite0:size=288+efficientnet-lite2:size=320"}
"""Short names of recipes."""
_PART = re.compile(
    r"(?:(?P<onnx>onnx):(?P<file>.*?\.(?i:onnx)(?=[:+]|\Z)|.*)|(?P<name>[^:+]*))(?P<options>(?::[^:+]*)*)", re.DOTALL
)
IDENTITIES = (
    re.compile(r"(?P<name>scenes)-\d+"),
    re.compile(r"(?P<name>efficientnet-lite\d)-\d+(?::size=(?P<size>\d+))?"),
    re.compile(
        r"(?P<name>onnx):(?P<file>[^,]+),size=(?P<size>\d+),mean=(?P<mean>[^,]*),scale=(?P<scale>[^,]*),"
        r"layout=(?P<layout>\w+),output=(?P<output>[^,]*),sha256=[0-9a-f]{64}"
    ),
)
"""Patterns of the identities of encoders; the groups are the name, the file name and the options.

Names are percent-encoded, so that they cannot contain separators and are printable.
"""


class Part(NamedTuple):
    """An encoder of a recipe: its name, the file of `onnx`, and its options."""

    name: str
    file: str
    options: Mapping[str, str]

    def __str__(self) -> str:
        pairs = (
            f"{key}={quote(value, safe='/', errors='surrogateescape')}" if value else key
            for key, value in self.options.items()
        )
        return ":".join((self.label, *pairs))

    @property
    def label(self) -> str:
        """The name and the file, without options."""
        return f"{self.name}:{self.file}" if self.file else self.name


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


def parse_identity(identity: str) -> list[Part] | None:
    """Parse an identity into the parts of a recipe; None if it is unknown, as for features from a file."""
    parts = []
    for text in re.split(r"\+(?=[a-z])", identity):
        if not (match := next(filter(None, (pattern.fullmatch(text) for pattern in IDENTITIES)), None)):
            return None
        groups = match.groupdict().items()
        values = {key: unquote(value, errors="surrogateescape") for key, value in groups if value is not None}
        parts.append(Part(values.pop("name"), values.pop("file", ""), values))
    return parts


def same_encoder(identity: str, other: str) -> bool:
    """Return whether two identities denote the same encoder; file names are ignored."""
    return without_file_name(identity) == without_file_name(other)


def without_file_name(identity: str) -> str:
    """Return an identity without the names of model and feature files."""
    return re.sub(r"(^|\+)(onnx|features):.*?(?=,size=|,sha256=)", r"\1\2:", identity)


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
    from captioner.images.encoders import ConcatenatedEncoder  # needs Pillow

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
