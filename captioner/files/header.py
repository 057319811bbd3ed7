"""The checksum header of a saved file: 512 bytes with its kind, version, length and SHA-256, before the HDF5 content.

HDF5 may miss damage or crash on it, so the header is verified before the HDF5 library parses a byte. Other HDF5 tools
read it as a user block and open the file normally. This module needs neither NumPy nor HDF5.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from captioner.errors import CaptionerError, CheckpointError, DataError
from captioner.files.user_files import format_of, read_start, regular_file

SIZE = 512


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
    def open(self, path: Path) -> Iterator[tuple[FileIO, str]]:
        """Open a file with a valid header; return it, positioned at the content, and the digest in the header.

        Raises: `error` if the file cannot be opened or read, or has another kind, version or length.
        """
        expected = f"a {self.name} from {self.writer}"
        with (
            regular_file(path, error=self.error, kind=self.name, expected=expected) as descriptor,
            open(descriptor, "rb", buffering=0, closefd=False) as file,
        ):
            yield file, self._digest(file, path)

    @contextmanager
    def verified(self, path: Path) -> Iterator[FileIO]:
        """Open a file whose content matches its header. Raises: `error`, as `open`, also if it does not match."""
        with self.open(path) as (file, digest):
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise self.error(f"{path}: damaged: its content does not match its checksum; {self.remedy}")
            yield file

    def _digest(self, file: FileIO, path: Path) -> str:
        header = file.read(SIZE) or b""  # None if the read would block
        match = re.fullmatch(self.magic + rb" ([0-9]{1,9}) ([0-9]{1,18}) ([0-9a-f]{64})\n\0*", header)
        if not header.startswith(self.magic):
            problem = f"not a captioner {self.name}, got {format_of(header)}"
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


MODEL = Kind("model", 2, "`captioner train` or `export`", CheckpointError, "use another model")
"""With optimizer slots the state of a training, without and in float16 a file to share."""
DATA_SET = Kind(
    "data set",
    1,
    "`captioner prepare`",
    DataError,
    "use another data set",
    finite=False,  # its reader names the row of another number
    digests=("features", "regions"),
)
