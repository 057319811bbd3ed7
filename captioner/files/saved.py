"""Saved files: named arrays and one JSON text in HDF5, behind a checksum header.

The header is 512 bytes with the kind, version, length and SHA-256 of the content. HDF5 may miss damage or crash on it,
so the header is verified before the HDF5 library parses a byte. Other HDF5 tools read it as a user block and open the
file normally.

The content has one contiguous array per name, in groups, and `meta`, a JSON object; no pickle, filter, link or code.
One function writes files, and one opens them.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from captioner.arrays import Array, Rows, blocks
from captioner.errors import CaptionerError, CheckpointError, DataError, printable
from captioner.files.atomic import always, replacing, writing
from captioner.files.hdf5 import (
    DeferredErrorFile,
    Hdf5Error,
    OpenFile,
    StoredArray,
    convert_hdf5_errors,
    datasets,
    new_file,
    open_content,
)
from captioner.files.user_files import format_of, read_start, regular_file

META = "meta"
SIZE = 512
"""Bytes of the header."""


@dataclass(frozen=True)
class Kind:
    """A kind of saved files: its name, version and writer, the class of its errors, and what to try if it is damaged.

    `finite`: every float is a finite number. `digests`: the last names of the arrays whose SHA-256 is saved too.
    """

    name: str
    version: int
    writer: str
    error: type[CaptionerError]
    remedy: str
    finite: bool = True
    digests: tuple[str, ...] = ()

    @property
    def magic(self) -> bytes:
        return f"captioner {self.name}".encode()

    def header(self, length: int, digest: str) -> bytes:
        """Return the header of content with this length and SHA-256."""
        return (b"%s %d %d %s\n" % (self.magic, self.version, length, digest.encode())).ljust(SIZE, b"\0")

    def matches(self, path: str | os.PathLike[str]) -> bool:
        """Return whether a file starts with a header of this kind; False if it cannot be read."""
        return read_start(path, len(self.magic)) == self.magic

    @contextmanager
    def verified(self, path: Path) -> Iterator[io.FileIO]:
        """Open a file whose content matches its header.

        Raises: `error` if it does not, or the file cannot be opened or read, or has another kind, version or length.
        """
        expected = f"a {self.name} from {self.writer}"
        with (
            regular_file(path, error=self.error, kind=self.name, expected=expected) as descriptor,
            open(descriptor, "rb", buffering=0, closefd=False) as file,
        ):
            digest = self._digest(file, path)
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise self.error(f"{path}: damaged: its content does not match its checksum; {self.remedy}")
            yield file

    def _digest(self, file: io.FileIO, path: Path) -> str:
        header = file.read(SIZE) or b""  # None if the read would block
        match = re.fullmatch(self.magic + rb" ([0-9]{1,9}) ([0-9]{1,18}) ([0-9a-f]{64})\n\0*", header)
        if not header.startswith(self.magic):
            found = next((what for start, what in TAKEN_BY.items() if header.startswith(start)), format_of(header))
            problem = f"not a captioner {self.name}, got {found}"
            raise self.error(f"{path}: {problem}; expected a file that {self.writer} wrote")
        if match is None or len(header) < SIZE:
            raise self.error(f"{path}: damaged: invalid header; {self.remedy}")
        version, length, digest = match.groups()
        if int(version) != self.version:
            raise self.error(
                f"{path}: expected {self.name} version {self.version}, got {int(version)}; "
                "use the version of captioner that wrote it"
            )
        expected, got = int(length), os.fstat(file.fileno()).st_size - SIZE
        if got != expected:
            raise self.error(f"{path}: damaged: expected {expected:,} bytes after the header, got {got:,}")
        return digest.decode()


MODEL = Kind("model", 3, "`captioner train` or `export`", CheckpointError, "use another model")
"""With optimizer slots the state of a training, without and in float16 a file to share."""
DATA_SET = Kind(
    "data set",
    2,
    "`captioner prepare`",
    DataError,
    "use another data set",
    finite=False,  # its reader names the row of another number
    digests=("features", "regions"),
)
TAKEN_BY = {
    MODEL.magic: "a captioner model, for `captioner caption --model` or -o train.init_from",
    DATA_SET.magic: "a captioner data set, for `captioner train --data`",
}
"""What files of the known kinds are, and what takes them, by their first bytes."""


class Saved:
    """An open file whose content matches its header: `meta`, and its arrays by name, read whole or by rows.

    Arrays that were returned by `rows` can be read after the file is closed.
    """

    def __init__(self, kind: Kind, path: Path, file: io.FileIO) -> None:
        self._kind, self.path = kind, path
        opened = OpenFile(file.fileno())
        with convert_hdf5_errors(f"{path}", kind.error):
            found = list(datasets(open_content(opened)))
        self._arrays: dict[str, StoredArray] = {}
        for name, dataset in found:
            where = f"{path}: array {printable(name, 80)}"
            with convert_hdf5_errors(where, kind.error):
                array = self._arrays[name] = StoredArray(dataset, opened, where, kind.error)
                if not array.is_contiguous:
                    raise Hdf5Error("expected contiguous numbers")
        # several arrays in the same place would need more memory than the file is long
        if sum(array.nbytes for array in self._arrays.values()) > opened.size:
            raise kind.error(f"{path}: expected arrays of at most {opened.size:,} bytes")
        self.text = self.read(META, "S", ndim=0).item().decode("utf-8", "surrogateescape")
        self.meta: dict[str, Any] = self._parse(self.text)
        del self._arrays[META]

    def _parse(self, text: str) -> dict[str, Any]:
        try:
            meta = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._kind.error(f"{self.path}: meta: invalid JSON: {error}") from error
        if not isinstance(meta, dict):
            raise self._kind.error(f"{self.path}: meta: expected a JSON object, got {text!r:.80}")
        return meta

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def rows(self, name: str, numbers: str, ndim: int | None = None) -> StoredArray:
        """Return an array that is read on demand. Raises: the kind's error if it is missing or of another type."""
        if name not in self._arrays:
            raise self._kind.error(f"{self.path}: array {printable(name, 80)}: not found")
        return self._arrays[name].expect(numbers, ndim)

    def read(self, name: str, numbers: str, ndim: int | None = None) -> Array:
        """Read a whole array. Raises: the kind's error, as `rows`, and for a number that is not finite."""
        stored = self.rows(name, numbers, ndim)
        array = stored.read()
        if self._kind.finite and array.dtype.kind == "f" and not np.isfinite(array).all():
            raise self._kind.error(f"{stored.where}: a number is not finite (NaN or infinity)")
        return array


@contextmanager
def open_saved(kind: Kind, path: Path) -> Iterator[Saved]:
    """Open a file after its checksum was verified, on one descriptor.

    Raises: the kind's error with the file and the array; also for any exception in the `with` block, which parses what
    the file contains.
    """
    with kind.verified(path) as file:
        try:
            yield Saved(kind, path, file)
        except (CaptionerError, MemoryError):  # `kind.verified` names the file
            raise
        except Exception as error:
            raise kind.error(
                f"{path}: not readable as a {kind.name}: {type(error).__name__}: {printable(str(error), 80)}"
            ) from error


def write(
    kind: Kind,
    path: Path,
    arrays: Mapping[str, Rows],
    meta: Mapping[str, Any],
    may_replace: Callable[[], bool] = always,
) -> None:
    """Write arrays, by full name, and `meta` as JSON atomically; equal contents give equal bytes.

    Arrays are read by blocks of rows. `meta` also gets the digests of `Kind.digests`. The new file is read back and
    compared bit by bit before it replaces the old one; `may_replace` is that of `replacing`.

    Raises: the kind's error, with the old file unchanged.
    """
    with writing(path, kind.name, kind.error), replacing(path, may_replace) as temporary:
        text = _write_content(kind, path, temporary, arrays, meta)
        with open(temporary, "r+b", buffering=0) as file:
            file.seek(SIZE)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            header = kind.header(file.tell() - SIZE, digest)
            file.seek(0)
            file.write(header)
            difference = _difference(kind, temporary, file, arrays, text)
        if difference:
            kept = f"the previous {kind.name} is kept" if path.exists() else f"there is no previous {kind.name}"
            raise kind.error(
                f"{path}: the new {kind.name} does not read back as written: {difference}; {kept}; "
                f"try another version of h5py (this is {h5py.__version__}), or check the disk and the memory"
            )


def _write_content(kind: Kind, path: Path, temporary: Path, arrays: Mapping[str, Rows], meta: Mapping[str, Any]) -> str:
    """Write the HDF5 content after an empty header, and return the text of `meta`."""
    parents = [name.split("/")[:-1] for name in arrays]
    groups = {"/".join(parts[:depth]): None for parts in parents for depth in range(1, len(parts) + 1)}
    digests = {}
    with DeferredErrorFile(temporary) as target, new_file(target, groups, SIZE) as file:
        for name, array in arrays.items():
            dtype, digest = array.dtype.newbyteorder("="), hashlib.sha256()
            stored = file.create_dataset(name, array.shape, dtype)
            for rows, block in _blocks(array):
                if kind.finite and dtype.kind == "f" and not np.isfinite(block).all():
                    raise kind.error(f"{path}: array {name}: not saved, since a number is not finite")
                stored[rows] = block
                if name.rpartition("/")[2] in kind.digests:
                    digest.update(block.data)
                    digests[name] = digest
        saved = {name: digest.hexdigest() for name, digest in digests.items()}
        text = json.dumps({**meta, **({"digests": saved} if kind.digests else {})}, allow_nan=False)
        file[META] = np.array(text.encode())
    return text


def _blocks(array: Rows) -> Iterator[tuple[Any, Array]]:
    """Yield the index and the contiguous values of each block of rows, in native byte order; of a number, itself."""
    dtype = array.dtype.newbyteorder("=")
    if not array.shape:
        yield (), np.asarray(array, dtype)
    else:
        for first, rows in blocks(array):
            yield slice(first, first + len(rows)), np.ascontiguousarray(rows, dtype)


def _difference(kind: Kind, temporary: Path, file: io.FileIO, arrays: Mapping[str, Rows], text: str) -> str:
    """Return the first difference between a new file and what was written, or "" if there is none."""
    try:
        saved = Saved(kind, temporary, file)
        for name in sorted(arrays.keys() ^ set(saved)):
            return f"array {name}: {'missing' if name in arrays else 'not expected'}"
        for name, array in arrays.items():
            dtype = array.dtype.newbyteorder("=")
            stored = saved.rows(name, "fiuS")
            expected, got = f"{dtype} {array.shape}", f"{stored.dtype} {stored.shape}"
            if expected != got:
                return f"array {name}: expected {expected}, got {got}"
            if any(stored[rows].tobytes() != block.tobytes() for rows, block in _blocks(array)):
                return f"array {name}: the numbers differ"
    except kind.error as error:
        return str(error).removeprefix(f"{temporary}: ")
    return "" if saved.text == text else "meta differs"
