"""Photographs -> feature vectors. Needs the extra `images` (Pillow, and onnxruntime for nets)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib import import_module
from urllib.parse import unquote

from captioner.errors import MissingLibraryError, UsageError, library_of
from captioner.images.encoder import Encoder

ENCODERS: dict[str, tuple[str, str]] = {
    "scenes": ("captioner.images.scenes_encoder", "open_scenes"),
    "efficientnet-lite0": ("captioner.images.efficientnet", "open_efficientnet"),
    "onnx": ("captioner.images.onnx", "open_onnx"),
}
"""Every encoder by its name: a module, imported when it is asked for, and its function (path, options) -> Encoder.

What stands after a colon in the name is the path: `onnx:model.onnx`.
"""


KNOWN = (
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
"""What an identity looks like, and the name of its encoder; its groups are the options, and the file's name.

Names stand in it as in a URL, so that none is mistaken for another field, and all are printable.
"""


def recognise(identity: str) -> tuple[str, dict[str, str]] | None:
    """The name and options that open the encoder of an identity, or None: `features` of a file may be anybody's."""
    for pattern, name in KNOWN:
        if match := pattern.fullmatch(identity):
            options = {key: unquote(text, errors="surrogateescape") for key, text in match.groupdict().items()}
            file = options.pop("file", None)
            return (f"{name}:{file}" if file else name), options
    return None


def are_same(identity: str, other: str) -> bool:
    """Whether two identities are of one encoder: what a file is called makes no difference."""
    return nameless(identity) == nameless(other)


def nameless(identity: str) -> str:
    """An identity without the name of a file of a model, or of features."""
    return re.sub(r"^(onnx|features):.*?(?=,size=|,sha256=)", r"\1:", identity)


def open_encoder(name: str, options: Mapping[str, str] | None = None) -> Encoder:
    """The encoder `NAME` or `NAME:PATH`.

    Raises: UsageError for an unknown name, or when the libraries it needs are not installed; DataError for its file.
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
