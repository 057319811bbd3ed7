"""Datasets of a user's HDF5 file, read without trusting the file.

HDF5 can point out of itself (external links and storage, virtual datasets) and declare more than it holds. Only
plain numbers and texts of fixed length pass here: reached through hard links, stored whole in this file, behind
filters that are known.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5g, h5l, h5o, h5p, h5t, h5z

from captioner.arrays import Array
from captioner.errors import CaptionerError, DataError
from captioner.storage.files import regular_file

FILE_LIMIT = 1 << 40
CHUNK_LIMIT = 1 << 28
CHUNK_SLOTS = 100_003  # HDF5 asks for a prime far above the number of chunks that its cache can hold
LAYOUTS = (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED)
FILTERS = (h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_LZF)
NUMBERS = {"f": "floats", "iu": "integers", "S": "texts of fixed length"}
CLASSES = (h5t.INTEGER, h5t.FLOAT, h5t.STRING)
SHAPES = {0: "()", 1: "(rows,)", 2: "(rows, columns)"}


@dataclass(frozen=True)
class Stored:
    """A checked dataset that gives rows in the machine's byte order; its file is open as long as this lives.

    `offset` is the place of the numbers in the file, where they stand there just as NumPy keeps them; `stamp` tells
    whether it is still the file that was checked.
    """

    where: str
    values: h5py.Dataset
    dtype: np.dtype[Any]
    offset: int | None
    stamp: tuple[int, int]

    def __getitem__(self, rows: Any, /) -> Array:
        """Rows by slice, or by rising distinct numbers.

        Raises: DataError when the stored bytes do not decode, or the file has changed.
        """
        with readable(self.where):
            found = np.asarray(self.values.astype(self.dtype)[rows])
        self.refuse_changed()
        return found

    def refuse_changed(self) -> None:
        """Ask after reading. Raises: DataError when the file was written to since it was opened."""
        if _stamp(os.fstat(self.descriptor())) != self.stamp:
            raise DataError(
                f"{self.where}: the file was written to while it was in use; leave it alone, and start again"
            )

    def descriptor(self) -> int:
        """Of the open file, which lives as long as this."""
        with readable(self.where):
            number: int = self.values.file.id.get_vfd_handle()
            return number


@contextmanager
def readable(where: str) -> Iterator[None]:
    """Turn whatever h5py lets out (KeyError, RuntimeError, OSError, OverflowError, ...) into one DataError."""
    try:
        yield
    except CaptionerError:
        raise
    except Exception as problem:
        reason = " ".join(str(problem).split()) or type(problem).__name__
        hint = "it may be damaged, cut short or still being written: try a fresh copy"
        if "lock file" in reason:
            hint = "its file system may have no locks: copy it to another, or set HDF5_USE_FILE_LOCKING=FALSE"
        raise DataError(f"{where}: cannot be read ({reason}); {hint}") from problem


def open_dataset(
    path: str | os.PathLike[str],
    name: str,
    *,
    numbers: str,
    ndim: int,
    cache: int = 1 << 20,
    descriptor: int | None = None,
) -> Stored:
    """Open one dataset and check all that can be checked before its numbers are read.

    `numbers` is a key of `NUMBERS`; up to `cache` bytes of unpacked chunks are kept for the next read. Whoever has
    opened the file already gives its `descriptor`: then it is that very file, and `path` its name alone.

    Raises: DataError that names the file and the dataset, and says what was expected and what is there.
    """
    where = f"{os.fspath(path)}: dataset {name!r}"
    opened = regular_file(path, FILE_LIMIT) if descriptor is None else nullcontext(descriptor)
    with opened as descriptor, readable(os.fspath(path)):
        # HDF5 opens by name only; this name is the very file that was checked, whatever became of the path
        alias = f"/dev/fd/{descriptor}"
        source = alias if os.path.exists(alias) else os.fspath(path)
        if not h5py.is_hdf5(source):
            raise DataError(f"{path}: expected an HDF5 file, got one that begins with {os.read(descriptor, 16)!r}")
        status = os.fstat(descriptor)
        file, size = h5py.File(source, "r"), status.st_size
    try:
        with readable(where):
            dataset = _walk(file.id, name, where, cache)
            layout = _check_storage(dataset.get_create_plist(), where)
            stored = _check_numbers(dataset, numbers, ndim, where)
            offset = _check_whole(dataset, layout, stored.itemsize, size, where)
            dtype = stored.newbyteorder("=")
            return Stored(where, h5py.Dataset(dataset), dtype, offset if dtype == stored else None, _stamp(status))
    except DataError:
        file.close()  # the error keeps its frames alive, and an open file could not be written anew
        raise


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _walk(here: h5g.GroupID, name: str, where: str, cache: int) -> h5d.DatasetID:
    """Follow hard links only, one at a time: a path given whole could cross into another file on its way."""
    access = h5p.create(h5p.DATASET_ACCESS)
    access.set_chunk_cache(CHUNK_SLOTS, cache, 0.75)
    *groups, last = name.strip("/").encode(errors="replace").split(b"/")
    for part, kind in [*((group, h5o.TYPE_GROUP) for group in groups), (last, h5o.TYPE_DATASET)]:
        if not part or not here.links.exists(part):
            names = ", ".join(repr(name.decode(errors="replace")) for name in islice(here, 8))
            raise DataError(f"{where}: no such dataset; this file has {names or 'none'}")
        if here.links.get_info(part).type != h5l.TYPE_HARD:
            raise DataError(f"{where}: expected data in this file, got a soft or external link")
        if h5o.get_info(here, part).type != kind:
            raise DataError(f"{where}: expected groups and then a dataset, got another object at {part.decode()!r}")
        here = h5g.open(here, part) if kind == h5o.TYPE_GROUP else h5d.open(here, part, access)
    return here


def _check_storage(plan: h5p.PropDCID, where: str) -> int:
    """How the numbers are kept; asked before anything else, since a virtual dataset's shape opens other files."""
    layout: int = plan.get_layout()
    if layout not in LAYOUTS or plan.get_external_count():
        kind = "external" if layout in LAYOUTS else "virtual"
        raise DataError(f"{where}: expected data in this file, got {kind} storage")
    filters = [plan.get_filter(i) for i in range(plan.get_nfilters())]
    codes, names = [code for code, *_ in filters], [name.decode(errors="replace") for *_, name in filters]
    if not set(codes) <= set(FILTERS) or len(set(codes)) < len(codes):
        raise DataError(f"{where}: expected no filter but gzip, lzf and shuffle, each once, got {', '.join(names)!r}")
    return layout


def _check_numbers(dataset: h5d.DatasetID, numbers: str, ndim: int, where: str) -> np.dtype[Any]:
    """The type as it is stored, which must be one that NumPy writes with the very same bits."""
    kind = dataset.get_type()
    dtype: np.dtype[Any] = kind.dtype
    plain = kind.get_class() in CLASSES and h5t.py_create(dtype) == kind
    shape = dataset.shape or ()
    empty = dataset.shape is None or 0 in shape
    if not plain or dtype.kind not in numbers or len(shape) != ndim or empty:
        got = f"{dtype} {shape}{', which is empty' if empty else ''}" if plain else f"other data ({dtype})"
        raise DataError(f"{where}: expected {NUMBERS[numbers]} {SHAPES[ndim]}, got {got}")
    return dtype


def _check_whole(dataset: h5d.DatasetID, layout: int, itemsize: int, size: int, where: str) -> int | None:
    """The offset of contiguous numbers; all that are declared must be there, since HDF5 reads lost ones as zeros."""
    stored = dataset.get_storage_size()
    if layout != h5d.CHUNKED:
        declared = prod(dataset.shape) * itemsize
        offset: int | None = dataset.get_offset() if layout == h5d.CONTIGUOUS and stored else None
        present = max(0, min(stored, size - (offset or 0)))
        if present != declared:
            raise DataError(f"{where}: expected {declared} bytes of numbers, got {present}")
        return offset
    chunk = dataset.get_create_plist().get_chunk()
    nbytes, chunks = prod(chunk) * itemsize, prod(-(-n // k) for n, k in zip(dataset.shape, chunk, strict=True))
    if nbytes > CHUNK_LIMIT:
        raise DataError(f"{where}: expected chunks of at most {CHUNK_LIMIT} bytes, got {nbytes} {chunk}")
    # a packed chunk may be a little larger than its numbers, but HDF5 would set aside whatever size is written down
    count, most = dataset.get_num_chunks(), min(size, chunks * (2 * nbytes + 64))
    if count != chunks or stored > most:
        raise DataError(f"{where}: expected {chunks} chunks of at most {nbytes} bytes, got {count} of {stored} in all")
    return None
