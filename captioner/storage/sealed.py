"""Sealed files: 512 bytes that tell the kind, length and SHA-256 of an HDF5 image, and that image behind them.

HDF5 does not notice damage, or crashes over it, so a seal is verified before the HDF5 library parses a byte. Other
HDF5 tools take the seal for a user block and open the file as it is.
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

from captioner.errors import CaptionerError
from captioner.storage.files import irregular_kind, nonblocking_opener

SIZE = 512
BLOCK = 1 << 20


@dataclass(frozen=True)
class Seal:
    """One kind of sealed files: `captioner WHAT`, in some version, written by `maker`."""

    what: str
    version: int
    maker: str
    most: int
    error: type[CaptionerError]
    remedy: str = ""

    @property
    def magic(self) -> bytes:
        return f"captioner {self.what}".encode()

    def of(self, length: int, digest: str) -> bytes:
        """The seal of an image."""
        return (b"%s %d %d %s\n" % (self.magic, self.version, length, digest.encode())).ljust(SIZE, b"\0")

    @contextmanager
    def open(self, path: Path) -> Iterator[tuple[FileIO, str]]:
        """A file whose seal is whole, to be read from its image on, and the digest that the image must have.

        Raises: `error` when it cannot be opened, is not a file of this kind, version and length, or cannot be read
        inside the `with` block.
        """
        try:
            # unbuffered: a buffered reader copies all that it reads after the seal once more
            file = open(path, "rb", buffering=0, opener=nonblocking_opener)  # noqa: SIM115 - closed below
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", error)
            raise self.error(f"{path}: cannot open the {self.what}: {reason}") from error
        with file:
            try:
                yield file, self._digest(file, path)
            except OSError as error:
                raise self.error(f"{path}: cannot read the {self.what}: {error.strerror or error}") from error

    def _digest(self, file: FileIO, path: Path) -> str:
        status = os.fstat(file.fileno())
        if kind := irregular_kind(status):
            raise self.error(f"{path}: expected a {self.what} file, got {kind}")
        seal = file.read(SIZE) or b""  # None where it would have to be waited for
        match = re.fullmatch(self.magic + rb" ([0-9]{1,9}) ([0-9]{1,18}) ([0-9a-f]{64})\n\0*", seal)
        if not seal.startswith(self.magic):
            raise self.error(f"{path}: not a captioner {self.what}; expected a file that {self.maker} wrote")
        if match is None or len(seal) < SIZE:
            raise self.error(f"{path}: damaged: its seal is not whole; {self._remedy}")
        version, length, digest = match.groups()
        if int(version) != self.version:
            raise self.error(
                f"{path}: expected {self.what} version {self.version}, got {int(version)}; "
                "use the captioner that wrote it"
            )
        expected, got = min(int(length), self.most), status.st_size - SIZE
        if got != expected:
            raise self.error(f"{path}: damaged: expected {expected:,} bytes after the seal, got {got:,}")
        return digest.decode()

    def broken(self, path: Path) -> NoReturn:
        """Refuse an image whose digest is another."""
        raise self.error(f"{path}: damaged: its content does not match its seal; {self._remedy}")

    @property
    def _remedy(self) -> str:
        return self.remedy or f"use another {self.what}"

    def is_on(self, path: str | os.PathLike[str]) -> bool:
        """Whether a file begins like one of this kind; what cannot be read does not."""
        try:
            with open(path, "rb", opener=nonblocking_opener) as file:
                return file.read(len(self.magic)) == self.magic
        except (OSError, ValueError):
            return False


def digest_of(file: FileIO) -> str:
    """The SHA-256 of the rest of a file, read block by block."""
    digest = hashlib.sha256()
    while block := file.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()
