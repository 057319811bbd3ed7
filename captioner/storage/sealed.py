"""Sealed files, such as checkpoints and models: a 512-byte header (the seal) with kind, version, length and
SHA-256, followed by an HDF5 payload.

HDF5 may miss damage or crash on it, so the seal is verified before the HDF5 library parses a byte. Other HDF5 tools
read the seal as a user block and open the file normally. This module needs neither NumPy nor HDF5.
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
from typing import NoReturn

from captioner.errors import CaptionerError, CheckpointError
from captioner.storage.files import read_start, regular_file

SIZE = 512
BLOCK = 1 << 20


@dataclass(frozen=True)
class Seal:
    """A kind of sealed files: its name, version, writer, maximum payload size, error, and NumPy kinds of its arrays."""

    kind: str
    version: int
    writer: str
    max_bytes: int
    error: type[CaptionerError]
    remedy: str = ""
    dtype_kinds: str = "f"

    @property
    def magic(self) -> bytes:
        return f"captioner {self.kind}".encode()

    def of(self, length: int, digest: str) -> bytes:
        """Return the seal of a payload with this length and SHA-256."""
        return (b"%s %d %d %s\n" % (self.magic, self.version, length, digest.encode())).ljust(SIZE, b"\0")

    @contextmanager
    def open(self, path: Path) -> Iterator[tuple[FileIO, str]]:
        """Open a file with a valid seal; return it, positioned at the payload, and the digest of the payload.

        Raises: `error` if the file cannot be opened or read, or has another kind, version or length.
        """
        expected = f"a {self.kind} from {self.writer}"
        with (
            regular_file(path, error=self.error, kind=self.kind, expected=expected) as descriptor,
            # unbuffered: a buffered reader would copy the payload once more
            open(descriptor, "rb", buffering=0, closefd=False) as file,
        ):
            yield file, self._digest(file, path)

    def _digest(self, file: FileIO, path: Path) -> str:
        seal = file.read(SIZE) or b""  # None if the read would block
        match = re.fullmatch(self.magic + rb" ([0-9]{1,9}) ([0-9]{1,18}) ([0-9a-f]{64})\n\0*", seal)
        if not seal.startswith(self.magic):
            raise self.error(f"{path}: not a captioner {self.kind}; expected a file that {self.writer} wrote")
        if match is None or len(seal) < SIZE:
            raise self.error(f"{path}: damaged: invalid seal; {self._remedy}")
        version, length, digest = match.groups()
        if int(version) != self.version:
            raise self.error(
                f"{path}: expected {self.kind} version {self.version}, got {int(version)}; "
                "use the version of captioner that wrote it"
            )
        expected, got = int(length), os.fstat(file.fileno()).st_size - SIZE
        if expected > self.max_bytes:
            raise self.error(f"{path}: expected a {self.kind} of at most {self.max_bytes:,} bytes, got {expected:,}")
        if got != expected:
            raise self.error(f"{path}: damaged: expected {expected:,} bytes after the seal, got {got:,}")
        return digest.decode()

    def raise_damaged(self, path: Path) -> NoReturn:
        """Raise `error` for a payload with another digest."""
        raise self.error(f"{path}: damaged: its content does not match its seal; {self._remedy}")

    @property
    def _remedy(self) -> str:
        return self.remedy or f"use another {self.kind}"

    def matches(self, path: str | os.PathLike[str]) -> bool:
        """Return whether a file starts with a seal of this kind; False if it cannot be read."""
        return read_start(path, len(self.magic)) == self.magic


def digest_of(file: FileIO) -> str:
    """Return the SHA-256 of the rest of a file, read block by block."""
    digest = hashlib.sha256()
    while block := file.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()


MODEL_SEAL = Seal("model", version=1, writer="`captioner train` or `export`", max_bytes=8 << 30, error=CheckpointError)
"""A model: with optimizer slots the state of a training, without and in float16 a file to share."""


def digest(path: Path) -> str:
    """Return the SHA-256 digest in the seal of a model. Raises: CheckpointError for another file."""
    with MODEL_SEAL.open(path) as (_, content_digest):
        return content_digest
