"""Tensors in a safetensors file; the library checks that the header and the offsets fit to the file.

Source: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from captioner.arrays import Array
from captioner.errors import DataError
from captioner.export.metadata import KEY
from captioner.export.tensor_file import MAX_BYTES, Tensor, TensorFile
from captioner.storage.files import regular_file

DTYPES = {"F16": "float16", "F32": "float32", "F64": "float64"}


def encode(tensors: Mapping[str, Array], metadata: str) -> bytes:
    """Return the content of a file."""
    from safetensors.numpy import save

    return save(dict(tensors), {KEY: metadata})


@contextmanager
def open_file(path: Path) -> Iterator[TensorFile]:
    """Open a file without reading its tensors.

    Raises: DataError if it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    with regular_file(path, MAX_BYTES):
        pass
    try:
        with safe_open(path, "np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            tensors = {
                name: Tensor(DTYPES.get(part.get_dtype(), part.get_dtype()), tuple(part.get_shape()))
                for name, part in slices.items()
            }
            yield TensorFile((file.metadata() or {}).get(KEY), tensors, file.get_tensor)
    except SafetensorError as error:
        raise DataError(f"{path}: damaged, or not a safetensors file: {error}") from error
