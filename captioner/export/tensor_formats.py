"""The formats of tensor files, by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from captioner.arrays import Array
from captioner.errors import DataError
from captioner.export import npz_file, safetensors_file
from captioner.export.tensor_file import TensorFile
from captioner.storage.files import regular_file


class TensorFormat(NamedTuple):
    """A format: how a file of it starts, and functions that write and open one."""

    starts: Callable[[bytes], bool]
    encode: Callable[[Mapping[str, Array], str], bytes]
    open_file: Callable[[Path], AbstractContextManager[TensorFile]]


FORMATS: Mapping[str, TensorFormat] = {
    # 8 bytes with the length of the JSON header
    "safetensors": TensorFormat(lambda start: start[8:9] == b"{", safetensors_file.encode, safetensors_file.open_file),
    "npz": TensorFormat(lambda start: start[:2] == b"PK", npz_file.encode, npz_file.open_file),
}


def format_of(path: Path) -> TensorFormat:
    """Return the format of a file, by its first bytes.

    Raises: DataError for any other file.
    """
    with regular_file(path, expected="a safetensors or npz file") as descriptor:
        start = os.read(descriptor, 16)
    for one in FORMATS.values():
        if one.starts(start):
            return one
    raise DataError(f"{path}: expected a safetensors or npz file from `captioner export`, got another file")


def is_format(name: str) -> Callable[[str | os.PathLike[str]], bool]:
    """Return a function that returns whether a path is a regular file of this format."""

    def check(path: str | os.PathLike[str]) -> bool:
        try:
            return format_of(Path(path)) is FORMATS[name]
        except DataError:
            return False

    return check
