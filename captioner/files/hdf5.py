"""Arrays in HDF5 files: checked before their numbers are read, read by rows, and written reproducibly.

An HDF5 file can refer to other files (external links and storage, virtual datasets) and declare more data than it
contains. Only numbers and fixed-length strings are accepted, reached through hard links, stored completely in this
file, contiguous or in chunks with known filters.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from h5py import h5d, h5f, h5fd, h5g, h5l, h5o, h5p, h5t, h5z

from captioner.arrays import Array
from captioner.errors import CaptionerError, DataError, quoted
from captioner.files.user_files import format_of, regular_file

CHUNK_LIMIT = 1 << 28
CHUNK_SLOTS = 100_003  # HDF5 recommends a prime far above the number of chunks in the cache
LAYOUTS, OTHER_LAYOUTS = (h5d.CONTIGUOUS, h5d.CHUNKED), {h5d.COMPACT: "compact", h5d.VIRTUAL: "virtual"}
FILTERS = (h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_LZF)
NUMBERS = {
    "f": "floats", "iu": "integers", "fu": "floats or unsigned integers", "S": "fixed-length strings", "fiu": "numbers",
    "fiuS": "numbers or strings",
}  # fmt: skip
CLASSES = (h5t.INTEGER, h5t.FLOAT, h5t.STRING)
SHAPES = {0: "()", 1: "(rows,)", 2: "(rows, columns)", 4: "(images, rows, columns, numbers)"}
MAX_OBJECTS, MAX_DEPTH = 2000, 3
"""The maximum number of groups and arrays in a saved file, and of the parts of an array's name."""
DENSE = 16
"""Selecting one row costs HDF5 about as much as reading this many contiguous rows."""


class Hdf5Error(Exception):
    """An HDF5 file or an object in it is not suitable; the message has no file name."""


@contextmanager
def convert_hdf5_errors(where: str, error: Callable[[str], CaptionerError] = DataError) -> Iterator[None]:
    """Convert `Hdf5Error` and every exception of h5py (KeyError, RuntimeError, OSError, ...) into an `error`."""
    try:
        yield
    except CaptionerError:
        raise
    except Hdf5Error as problem:
        raise error(f"{where}: {problem}") from problem
    except MemoryError as problem:
        raise error(f"{where}: cannot be read: not enough memory") from problem
    except Exception as problem:
        reason = " ".join(str(problem).split()) or type(problem).__name__
        raise error(
            f"{where}: cannot be read ({reason}); it may be damaged, truncated or still being written: try a new copy"
        ) from problem


class OpenFile(io.FileIO):
    """A duplicate of an open descriptor, closed with this object, and the version of the file when it was opened."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(os.dup(descriptor))
        self.version = self._current()
        self.size = self.version[0]

    def _current(self) -> tuple[int, int]:
        status = os.fstat(self.fileno())
        return status.st_size, status.st_mtime_ns

    def check_unchanged(self) -> None:
        """Check after reading. Raises: Hdf5Error if the file was written to after it was opened."""
        if self._current() != self.version:
            raise Hdf5Error("the file was written to while it was in use; do not modify it while captioner runs")

    def read_at(self, into: memoryview, offset: int) -> None:
        """Read bytes at an offset, from any thread. Raises: Hdf5Error if the file is shorter."""
        while into:  # Linux reads at most 2 GiB per call
            count = os.preadv(self.fileno(), [into], offset)
            if not count:
                raise Hdf5Error("the file was truncated; try a fresh copy")
            into, offset = into[count:], offset + count

    def __del__(self) -> None:
        self.close()


class StoredArray:
    """A checked array of an open HDF5 file, read by any NumPy row index, or whole, in native byte order.

    A contiguous array is read at its offset without HDF5.
    """

    def __init__(
        self, dataset: h5d.DatasetID, file: OpenFile, where: str, error: Callable[[str], CaptionerError] = DataError
    ) -> None:
        self.where, self._error, self._file = where, error, file
        self.is_contiguous = _layout(dataset.get_create_plist()) == h5d.CONTIGUOUS
        if dataset.shape is None:
            raise Hdf5Error("expected an array, got no values")
        self._stored_dtype = _plain_dtype(dataset)
        self.dtype = self._stored_dtype.newbyteorder("=")
        self.shape: tuple[int, ...] = dataset.shape
        self.nbytes = prod(self.shape) * self.dtype.itemsize
        self._offset = _check_whole(dataset, self.nbytes, file.size)
        self._dataset = h5py.Dataset(dataset)
        self._numbers = np.arange(self.shape[0]) if self.shape else np.array(0)

    def expect(self, numbers: str, ndim: int | None = None) -> StoredArray:
        """Return this array if it has numbers of a kind, a key of `NUMBERS`, and `ndim` axes. Raises: the error."""
        if self.dtype.kind not in numbers or ndim not in (None, len(self.shape)):
            shape = "" if ndim is None else f" {SHAPES[ndim]}"
            got = f"{self._stored_dtype} {self.shape}"
            raise self._error(f"{self.where}: expected {NUMBERS[numbers]}{shape}, got {got}")
        return self

    def read(self) -> Array:
        """Read the whole array. Raises: the error, as by rows."""
        with convert_hdf5_errors(self.where, self._error):
            if self._offset is None:
                values = np.asarray(self._dataset.astype(self.dtype)[()])
            else:
                values = np.empty(self.shape, self._stored_dtype)
                self._file.read_at(_bytes(values), self._offset)
            self._file.check_unchanged()
            return values.astype(self.dtype, copy=False)

    def __getitem__(self, rows: Any, /) -> Array:
        """Read rows. Shapes: index of shape S -> S + the shape of a row.

        Raises: the error if the stored bytes cannot be decoded, or the file has changed.
        """
        wanted = np.asarray(self._numbers[rows])
        with convert_hdf5_errors(self.where, self._error):
            values = np.empty((*wanted.shape, *self.shape[1:]), self._stored_dtype)
            if wanted.size:
                if self._offset is None:
                    values = self._read_chunked(wanted)
                else:
                    self._read_contiguous(wanted, rows, values, self._offset)
                self._file.check_unchanged()
            return values.astype(self.dtype, copy=False)

    def _read_contiguous(self, wanted: Array, rows: Any, values: Array, offset: int) -> None:
        size, into = values.nbytes // wanted.size, _bytes(values)
        if isinstance(rows, slice) and rows.step in (None, 1):
            self._file.read_at(into, offset + int(wanted[0]) * size)
            return
        for place, row in enumerate(wanted.ravel().tolist()):
            self._file.read_at(into[place * size : (place + 1) * size], offset + row * size)

    def _read_chunked(self, wanted: Array) -> Array:
        """Read each chunk once: a range of rows, or distinct rows in ascending order."""
        stored, first, last = self._dataset.astype(self.dtype), int(wanted.min()), int(wanted.max())
        if last - first < DENSE * wanted.size:
            read, place = stored[first : last + 1], wanted - first
        else:
            ascending, place = np.unique(wanted, return_inverse=True)
            read, place = stored[ascending], place.reshape(wanted.shape)
        return np.asarray(np.asarray(read)[place])


def _bytes(values: Array) -> memoryview:
    flat: Any = values.reshape(-1).view(np.uint8)
    return memoryview(flat)


# --- opening


def open_dataset(
    path: str | os.PathLike[str], name: str, *, numbers: str, ndim: int, cache: int = 1 << 20
) -> StoredArray:
    """Open an array of a user's file, and check everything that can be checked before its numbers are read.

    `numbers` is a key of `NUMBERS`; up to `cache` bytes of decompressed chunks are cached.

    Raises: DataError with the file, the dataset, what was expected and what was found.
    """
    where = f"{os.fspath(path)}: dataset {name!r}"
    with regular_file(path, expected=f"an HDF5 file with the dataset {name!r}") as descriptor:
        file = OpenFile(descriptor)
        with convert_hdf5_errors(os.fspath(path)):
            content = open_content(file)
        with convert_hdf5_errors(where):
            array = StoredArray(_find(content, name, cache), file, where).expect(numbers, ndim)
            if 0 in array.shape:
                raise Hdf5Error(f"expected at least one number, got {array.shape}")
            return array


def open_content(file: OpenFile) -> h5f.FileID:
    """Open the HDF5 content of a file. Raises: Hdf5Error for a file of another format; any exception of h5py."""
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fileobj_driver(h5fd.fileobj_driver, file)
    try:
        return h5f.open(b"content", h5f.ACC_RDONLY, access)
    except OSError as problem:
        if "signature not found" not in str(problem):
            raise
        raise Hdf5Error(f"expected an HDF5 file, got {format_of(os.pread(file.fileno(), 512, 0))}") from problem


def _find(content: h5f.FileID, name: str, cache: int) -> h5d.DatasetID:
    """Open a dataset by its name, one part at a time: a full path could cross into another file."""
    found: Any = content
    for part in name.strip("/").encode(errors="replace").split(b"/"):
        is_here = isinstance(found, h5g.GroupID) and part and found.links.exists(part)
        found = _follow(found, part, cache) if is_here else None
    if not isinstance(found, h5d.DatasetID):
        names = ", ".join(repr(name.decode(errors="replace")) for name in islice(content, 8))
        raise Hdf5Error(f"dataset not found; this file has {names or 'none'}")
    return found


def datasets(group: h5g.GroupID, prefix: str = "", seen: set[object] | None = None) -> Iterator[tuple[str, Any]]:
    """Yield all datasets below a group with their names.

    Raises: Hdf5Error for a link, an object with two names, or too many objects.
    """
    seen = set() if seen is None else seen
    for leaf in group:
        name, found = prefix + leaf.decode(errors="replace"), _follow(group, leaf)
        address = h5o.get_info(found).addr
        if address in seen:
            raise Hdf5Error(f"{quoted(name)}: the same object has two names")
        seen.add(address)
        if len(seen) > MAX_OBJECTS or name.count("/") >= MAX_DEPTH:
            raise Hdf5Error(f"{quoted(name)}: too many or too deeply nested objects")
        if isinstance(found, h5g.GroupID):
            yield from datasets(found, f"{name}/", seen)
        else:
            yield name, found


def _follow(group: h5g.GroupID, leaf: bytes, cache: int = 1 << 20) -> h5g.GroupID | h5d.DatasetID:
    """Open the group or the dataset that a hard link leads to."""
    if group.links.get_info(leaf).type != h5l.TYPE_HARD:
        raise Hdf5Error(f"expected data in this file, got a soft or external link at {quoted(leaf.decode())}")
    kind = h5o.get_info(group, leaf).type
    if kind == h5o.TYPE_GROUP:
        return h5g.open(group, leaf)
    if kind != h5o.TYPE_DATASET:
        raise Hdf5Error(f"expected groups and then a dataset, got another object at {quoted(leaf.decode())}")
    access = h5p.create(h5p.DATASET_ACCESS)
    access.set_chunk_cache(CHUNK_SLOTS, cache, 0.75)
    return h5d.open(group, leaf, access)


def _layout(plan: h5p.PropDCID) -> int:
    """Return the layout after checking it. This comes first: even the shape of a virtual dataset opens other files."""
    layout: int = plan.get_layout()
    if layout not in LAYOUTS or plan.get_external_count():
        kind = OTHER_LAYOUTS.get(layout, "external")
        raise Hdf5Error(f"expected contiguous or chunked storage in this file, got {kind} storage")
    filters = [plan.get_filter(i) for i in range(plan.get_nfilters())]
    codes, names = [code for code, *_ in filters], [name.decode(errors="replace") for *_, name in filters]
    if not set(codes) <= set(FILTERS) or len(set(codes)) < len(codes):
        raise Hdf5Error(f"expected no filter but gzip, lzf and shuffle, each once, got {', '.join(names)!r}")
    return layout


def _plain_dtype(dataset: h5d.DatasetID) -> np.dtype[Any]:
    """Return the stored type, which must be identical to a NumPy type."""
    kind = dataset.get_type()
    dtype: np.dtype[Any] = kind.dtype
    if kind.get_class() not in CLASSES or h5t.py_create(dtype) != kind:
        raise Hdf5Error(f"expected numbers or fixed-length strings, got other data ({dtype})")
    return dtype


def _check_whole(dataset: h5d.DatasetID, declared: int, size: int) -> int | None:
    """Return the offset of a contiguous array. All numbers must be present, since HDF5 reads missing ones as zeros."""
    stored, plan = dataset.get_storage_size(), dataset.get_create_plist()
    if plan.get_layout() == h5d.CONTIGUOUS:
        offset: int | None = dataset.get_offset() if stored else None
        present = max(0, min(stored, size - (offset or 0)))
        if present != declared:
            raise Hdf5Error(f"expected {declared} bytes of numbers, got {present}")
        return offset
    chunk, itemsize = plan.get_chunk(), dataset.dtype.itemsize
    nbytes, chunks = prod(chunk) * itemsize, prod(-(-n // k) for n, k in zip(dataset.shape, chunk, strict=True))
    if nbytes > CHUNK_LIMIT:
        raise Hdf5Error(f"expected chunks of at most {CHUNK_LIMIT} bytes, got {nbytes} {chunk}")
    # a compressed chunk may be slightly larger than its numbers, but HDF5 would allocate any declared size
    count, limit = dataset.get_num_chunks(), min(size, chunks * (2 * nbytes + 64))
    if count != chunks or stored > limit:
        raise Hdf5Error(f"expected {chunks} chunks of at most {nbytes} bytes, got {count} of {stored} in all")
    return None


# --- writing


def new_file(target: BinaryIO, groups: Iterable[str], userblock: int) -> h5py.File:
    """Create an HDF5 file with these groups, parents first; equal contents give equal bytes.

    Timestamps, which h5py before 3.15 stores, are switched off.
    """
    access, plan = h5p.create(h5p.FILE_ACCESS), h5p.create(h5p.FILE_CREATE)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    access.set_libver_bounds(h5f.LIBVER_LATEST, h5f.LIBVER_LATEST)
    access.set_fileobj_driver(h5fd.fileobj_driver, target)
    plan.set_userblock(userblock)
    plan.set_obj_track_times(False)
    file = h5py.File(h5f.create(b"new", h5f.ACC_TRUNC, plan, access))
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
