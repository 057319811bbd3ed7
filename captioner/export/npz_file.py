"""Tensors in an npz file: a zip archive of uncompressed npy files, as `numpy.savez` writes it.

Compressed members are refused. Then no member is larger than the file, and a small file cannot fill the memory.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from captioner.arrays import Array
from captioner.errors import DataError
from captioner.export.metadata import KEY
from captioner.export.metadata import MAX_BYTES as MAX_METADATA
from captioner.export.tensor_file import MAX_BYTES, Tensor, TensorFile
from captioner.printable import printable
from captioner.storage.files import regular_file

MAX_MEMBERS = 100
SUFFIX = ".npy"
VERSIONS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def encode(tensors: Mapping[str, Array], metadata: str) -> bytes:
    """Return the content of a file; the metadata is an array of bytes."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **{KEY: np.frombuffer(metadata.encode(), np.uint8)}, **tensors)
    return file.getvalue()


@contextmanager
def open_file(path: Path) -> Iterator[TensorFile]:
    """Open a file without reading its tensors.

    Raises: DataError if it is damaged, compressed, or contains anything but arrays of numbers.
    """
    with regular_file(path, MAX_BYTES) as descriptor, open(descriptor, "rb", closefd=False) as raw:
        try:
            with zipfile.ZipFile(raw) as archive:
                members = _members(archive, raw)
                tensors = {name: _header(archive, member) for name, member in members.items()}

                def read(name: str) -> Array:
                    return _array(archive, members[name])

                metadata = None
                if (text := tensors.pop(KEY, None)) is not None:
                    if text.dtype != "uint8" or len(text.shape) != 1 or text.shape[0] > MAX_METADATA:
                        raise DataError(f"{KEY}: expected at most {MAX_METADATA:,} bytes of JSON as uint8, got {text}")
                    metadata = read(KEY).tobytes()
                yield TensorFile(metadata, tensors, read)
        except DataError as error:
            raise DataError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
        except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
            # of zipfile and of NumPy's reader of headers, for damaged files
            raise DataError(f"{path}: damaged, or not an npz file: {error}") from error


def _members(archive: zipfile.ZipFile, raw: IO[bytes]) -> dict[str, zipfile.ZipInfo]:
    entries = archive.infolist()
    if len(entries) > MAX_MEMBERS:
        raise DataError(f"expected at most {MAX_MEMBERS} arrays, got {len(entries):,}")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise DataError(f"{entry.filename}: expected an uncompressed array, as numpy.savez writes it")
    # members that overlap could be larger together than the file
    if sum(entry.file_size for entry in entries) > (size := raw.seek(0, io.SEEK_END)):
        raise DataError(f"expected arrays of together at most {size:,} bytes, the size of the file; it is damaged")
    members = {entry.filename.removesuffix(SUFFIX): entry for entry in entries}
    if len(members) < len(entries):
        raise DataError("expected one array of each name, got several")
    return members


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Tensor:
    with archive.open(member) as file:
        shape, _, dtype = _read_header(file)
        left = member.file_size - file.tell()
    if dtype.hasobject or dtype.kind not in "fu":
        raise DataError(f"{member.filename}: expected an array of floats, got {dtype}")
    needed = dtype.itemsize
    for length in shape:  # Python's integers do not overflow
        needed *= length
    if needed != left:
        raise DataError(
            f"{member.filename}: expected {needed:,} bytes for {dtype} {shape}, got {left:,}; it is damaged"
        )
    return Tensor(str(dtype), shape)


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = np.lib.format.read_magic(file)
    if version not in VERSIONS:
        raise DataError(f"expected npy format 1.0 or 2.0, got {'.'.join(map(str, version))}")
    try:
        header: tuple[tuple[int, ...], bool, np.dtype[np.generic]] = VERSIONS[version](file)
    except Exception as error:  # NumPy evaluates the header as Python: almost any exception is possible
        raise DataError(f"damaged header: {type(error).__name__}: {printable(error, 80)}") from error
    return header


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    with archive.open(member) as file:
        shape, is_fortran, dtype = _read_header(file)
        content = np.frombuffer(file.read(), dtype)  # zipfile checks the CRC-32
    return content.reshape(shape[::-1]).T if is_fortran else content.reshape(shape)
