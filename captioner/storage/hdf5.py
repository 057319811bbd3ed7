"""Safe reading of datasets in untrusted HDF5 files, and reproducible writing.

An HDF5 file can refer to other files (external links and storage, virtual datasets) and declare more data than it
contains. Only numbers and fixed-length strings are accepted, reached through hard links, stored completely in this
file, with known filters.
"""

from __future__ import annotations

import io
import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from h5py import h5d, h5g, h5l, h5o, h5p, h5t, h5z

from captioner.arrays import Array
from captioner.errors import CaptionerError, DataError
from captioner.storage.files import FileVersion, format_of, regular_file, version_of

FILE_LIMIT = 1 << 40
CHUNK_LIMIT = 1 << 28
CHUNK_SLOTS = 100_003  # HDF5 recommends a prime far above the number of chunks in the cache
LAYOUTS = (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED)
FILTERS = (h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_LZF)
NUMBERS = {"f": "floats", "iu": "integers", "S": "fixed-length strings"}
CLASSES = (h5t.INTEGER, h5t.FLOAT, h5t.STRING)
SHAPES = {0: "()", 1: "(rows,)", 2: "(rows, columns)", 4: "(images, rows, columns, numbers)"}


class Descriptor:
    """A duplicate of the descriptor of an open file, closed with this object: HDF5 may move the position of its own."""

    def __init__(self, descriptor: int) -> None:
        self.number = os.dup(descriptor)
        self.close = weakref.finalize(self, os.close, self.number)


@dataclass(frozen=True)
class CheckedDataset:
    """A checked dataset that returns rows in native byte order and keeps its file open.

    `offset` is the position of the numbers in the file, if they are contiguous and in native byte order; `version` is
    that of the checked file.
    """

    where: str
    values: h5py.Dataset
    dtype: np.dtype[Any]
    offset: int | None
    version: FileVersion
    file: Descriptor

    def __getitem__(self, rows: Any, /) -> Array:
        """Read rows by slice, or by increasing distinct indices.

        Raises: DataError if the stored bytes cannot be decoded or the file has changed.
        """
        with convert_hdf5_errors(self.where):
            array = np.asarray(self.values.astype(self.dtype)[rows])
        self.check_unchanged()
        return array

    def check_unchanged(self) -> None:
        """Check after reading. Raises: DataError if the file was written to after it was opened."""
        if version_of(os.fstat(self.file.number)) != self.version:
            raise DataError(
                f"{self.where}: the file was written to while it was in use; leave it alone, and start again"
            )


@contextmanager
def convert_hdf5_errors(where: str) -> Iterator[None]:
    """Convert every exception of h5py (KeyError, RuntimeError, OSError, OverflowError, ...) into a DataError."""
    try:
        yield
    except CaptionerError:
        raise
    except Exception as problem:
        reason = " ".join(str(problem).split()) or type(problem).__name__
        raise DataError(
            f"{where}: cannot be read ({reason}); it may be damaged, truncated or still being written: try a new copy"
        ) from problem


def open_dataset(
    path: str | os.PathLike[str],
    name: str,
    *,
    numbers: str,
    ndim: int,
    cache: int = 1 << 20,
    descriptor: int | None = None,
) -> CheckedDataset:
    """Open a dataset and check everything that can be checked before its numbers are read.

    `numbers` is a key of `NUMBERS`; up to `cache` bytes of decompressed chunks are cached. With `descriptor`, an open
    file is used, and `path` is only its name in messages.

    Raises: DataError with the file, the dataset, what was expected and what was found.
    """
    where = f"{os.fspath(path)}: dataset {name!r}"
    expected = f"an HDF5 file with the dataset {name!r}"
    opened = regular_file(path, FILE_LIMIT, expected=expected) if descriptor is None else nullcontext(descriptor)
    with opened as descriptor, convert_hdf5_errors(os.fspath(path)):
        # HDF5 opens by name only; this name refers to the checked file even if the path has been replaced
        alias = f"/dev/fd/{descriptor}"
        source = alias if os.path.exists(alias) else os.fspath(path)
        if not h5py.is_hdf5(source):
            raise DataError(f"{path}: expected an HDF5 file, got {format_of(os.read(descriptor, 512))}")
        status = os.fstat(descriptor)
        file, duplicate = _open(source), Descriptor(descriptor)
    try:
        with convert_hdf5_errors(where):
            dataset = _walk(file.id, name, where, cache)
            layout = _check_storage(dataset.get_create_plist(), where)
            stored = _check_numbers(dataset, numbers, ndim, where)
            offset = _check_whole(dataset, layout, stored.itemsize, status.st_size, where)
            dtype = stored.newbyteorder("=")
            offset = offset if dtype == stored else None
            return CheckedDataset(where, h5py.Dataset(dataset), dtype, offset, version_of(status), duplicate)
    except DataError:
        file.close()  # the traceback keeps its frames alive, and an open file cannot be overwritten
        duplicate.close()
        raise


def _open(source: str) -> h5py.File:
    """Open a file, also on a file system without locks; a file that another program writes to is locked by HDF5."""
    try:
        return h5py.File(source, "r")
    except OSError as error:
        if isinstance(error, BlockingIOError) or "lock" not in str(error):
            raise
        return h5py.File(source, "r", locking=False)


def _walk(here: h5g.GroupID, name: str, where: str, cache: int) -> h5d.DatasetID:
    """Follow hard links only, one at a time: a full path could cross into another file."""
    access = h5p.create(h5p.DATASET_ACCESS)
    access.set_chunk_cache(CHUNK_SLOTS, cache, 0.75)
    *groups, last = name.strip("/").encode(errors="replace").split(b"/")
    for part, kind in [*((group, h5o.TYPE_GROUP) for group in groups), (last, h5o.TYPE_DATASET)]:
        if not part or not here.links.exists(part):
            names = ", ".join(repr(name.decode(errors="replace")) for name in islice(here, 8))
            raise DataError(f"{where}: dataset not found; this file has {names or 'none'}")
        if here.links.get_info(part).type != h5l.TYPE_HARD:
            raise DataError(f"{where}: expected data in this file, got a soft or external link")
        if h5o.get_info(here, part).type != kind:
            raise DataError(f"{where}: expected groups and then a dataset, got another object at {part.decode()!r}")
        here = h5g.open(here, part) if kind == h5o.TYPE_GROUP else h5d.open(here, part, access)
    return here


def _check_storage(plan: h5p.PropDCID, where: str) -> int:
    """Check the storage layout first: even the shape of a virtual dataset opens other files."""
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
    """Return the stored type, which must be identical to a NumPy type."""
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
    """Return the offset of contiguous numbers; all must be present, since HDF5 reads missing ones as zeros."""
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
    # a compressed chunk may be slightly larger than its numbers, but HDF5 would allocate any declared size
    count, limit = dataset.get_num_chunks(), min(size, chunks * (2 * nbytes + 64))
    if count != chunks or stored > limit:
        raise DataError(f"{where}: expected {chunks} chunks of at most {nbytes} bytes, got {count} of {stored} in all")
    return None


def not_as_written(path: Path, kind: str, difference: str, error: Callable[[str], CaptionerError]) -> CaptionerError:
    """Return the error for a new file of a kind that differs from what was written."""
    kept = f"the previous {kind} is kept" if path.exists() else f"there is no previous {kind}"
    return error(
        f"{path}: the new {kind} does not read back as written: {difference}; {kept}; "
        f"try another version of h5py (this is {h5py.__version__}), or check the disk and the memory"
    )


def new_file(target: BinaryIO, groups: Iterable[str], userblock: int = 0) -> h5py.File:
    """Create an HDF5 file with these groups, parents first; equal contents give equal bytes.

    Timestamps, which h5py before 3.15 stores, are switched off.
    """
    access, plan = h5p.create(h5p.FILE_ACCESS), h5p.create(h5p.FILE_CREATE)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_libver_bounds(h5py.h5f.LIBVER_LATEST, h5py.h5f.LIBVER_LATEST)
    access.set_fileobj_driver(h5py.h5fd.fileobj_driver, target)
    plan.set_userblock(userblock)
    plan.set_obj_track_times(False)
    file = h5py.File(h5py.h5f.create(b"new", h5py.h5f.ACC_TRUNC, plan, access))
    plan, link = h5p.create(h5p.GROUP_CREATE), h5p.create(h5p.LINK_CREATE)
    plan.set_obj_track_times(False)
    link.set_char_encoding(h5t.CSET_UTF8)
    for name in groups:
        h5g.create(file.id, name.encode(), None if name.isascii() else link, plan)
    return file


class DeferredErrorFile(io.FileIO):
    """File that delays its first write error to the end of the `with` block, since HDF5 crashes on a full disk."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self._failure: OSError | None = None

    def write(self, content: Any, /) -> int:
        rest = memoryview(content).cast("B")
        try:
            while rest and self._failure is None:
                rest = rest[super().write(rest) :]
        except OSError as failure:
            self._failure = failure
        return len(content)

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size)
        except OSError as failure:
            self._failure = self._failure or failure
            return size or 0

    def __exit__(self, *problem: object) -> None:
        self.close()
        if self._failure is not None:
            raise self._failure
