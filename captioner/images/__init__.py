"""Image encoders: photographs -> feature vectors. Needs the extra `images` (Pillow and onnxruntime)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib import import_module
from urllib.parse import unquote

from captioner.errors import MissingLibraryError, UsageError
from captioner.extras import library_of
from captioner.images.encoder import Encoder

ENCODERS: dict[str, tuple[str, str]] = {
    "scenes": ("captioner.images.scenes_encoder", "open_scenes"),
    "efficientnet-lite0": ("captioner.images.efficientnet", "open_efficientnet"),
    "onnx": ("captioner.images.onnx", "open_onnx"),
}
"""Encoders by name: a module, imported on first use, and its function (path, options) -> Encoder.

The path follows the name after a colon: `onnx:model.onnx`.
"""


IDENTITIES = (
    (re.compile(r"scenes-\d+"), "scenes"),
    (re.compile(r"efficientnet-lite0-\d+"), "efficientnet-lite0"),
    (
        re.compile(
            r"onnx:(?P<file>[^,]+),size=(?P<size>\d+),mean=(?P<mean>[^,]*),scale=(?P<scale>[^,]*),layout=(?P<layout>\w+),"
            r"output=(?P<output>[^,]*),sha256=[0-9a-f]{64}"
        ),
        "onnx",
    ),
)
"""Patterns of encoder identities and the encoder's name; the groups are the file name and the options.

Names are percent-encoded, so that they cannot contain separators and are printable.
"""


def parse_identity(identity: str) -> tuple[str, dict[str, str]] | None:
    """Parse an identity into the encoder's name and options; None if it is unknown, as for features from a file."""
    for pattern, name in IDENTITIES:
        if match := pattern.fullmatch(identity):
            options = {key: unquote(text, errors="surrogateescape") for key, text in match.groupdict().items()}
            file = options.pop("file", None)
            return (f"{name}:{file}" if file else name), options
    return None


def same_encoder(identity: str, other: str) -> bool:
    """Return whether two identities denote the same encoder; file names are ignored."""
    return without_file_name(identity) == without_file_name(other)


def without_file_name(identity: str) -> str:
    """Return an identity without the name of the model or feature file."""
    return re.sub(r"^(onnx|features):.*?(?=,size=|,sha256=)", r"\1:", identity)


def open_encoder(name: str, options: Mapping[str, str] | None = None) -> Encoder:
    """Open the encoder `NAME` or `NAME:PATH`.

    Raises: UsageError for an unknown name or missing libraries; DataError for its file.
    """
    kind, _, path = name.partition(":")
    if kind not in ENCODERS:
        raise UsageError(f"encoder {name}: expected {', '.join(ENCODERS)} (as onnx:FILE), got {kind}")
    module, function = ENCODERS[kind]
    try:
        opener: Callable[[str, Mapping[str, str]], Encoder] = getattr(import_module(module), function)
    except ImportError as error:
        if library_of(error) is None:
            raise
        raise MissingLibraryError(error, f"encoder {name}: ") from error
    return opener(path, options or {})
