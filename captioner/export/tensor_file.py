"""What the readers of safetensors and npz files have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from captioner.arrays import Array

MAX_BYTES = 8 << 30
"""The maximum size of a file, as of a checkpoint."""


class Tensor(NamedTuple):
    """The type (`float32`) and shape of a tensor, as the header of the file declares them."""

    dtype: str
    shape: tuple[int, ...]


class TensorFile(NamedTuple):
    """An open file: its metadata (None if missing), the headers of its tensors, and a function that reads one."""

    metadata: str | bytes | None
    tensors: Mapping[str, Tensor]
    read: Callable[[str], Array]
