"""Safe access to files that a user names: regular files of a bounded size, remedies for missing ones.

Also strict JSON: no NaN and no infinity.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from captioner.errors import CaptionerError, DataError, UsageError, similar
from captioner.files.atomic import remove_temporary_files, try_folder

TEXT_LIMIT = 1 << 26
MAX_ENTRIES = 1000
"""The number of names in a folder that are compared with a missing one."""
NUMBERS = re.compile(r"\d+")
KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
# without O_NONBLOCK, opening a named pipe would block until another process writes to it
FLAGS = os.O_RDONLY | os.O_NONBLOCK
FORMATS = (
    (b"\xff\xfe", "UTF-16 text; save it as UTF-8"), (b"\xfe\xff", "UTF-16 text; save it as UTF-8"),
    (b"%PDF", "a PDF document"), (b"%!PS", "a PostScript file"), (b"PK\3\4", "a ZIP archive or an Office document"),
    (b"\xd0\xcf\x11\xe0", "an Office document"), (b"\x1f\x8b", "a gzip archive"), (b"\x89HDF", "an HDF5 file"),
    (b"\xff\xd8\xff", "a JPEG"), (b"\x89PNG", "a PNG"), (b"GIF8", "a GIF"), (b"RIFF", "a WebP, WAV or AVI file"),
    (b"II*\0", "a TIFF"), (b"MM\0*", "a TIFF"), (b"8BPS", "a Photoshop file"), (b"\xff\x0a", "a JPEG XL"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL"), (b"\0\0\0\x0cjP  ", "a JPEG 2000"), (b"\x7fELF", "a program"),
    (b"\x1aE\xdf\xa3", "a video"), (b"<svg", "an SVG drawing"), (b"<?xml", "an XML or SVG file"),
    (b"<!DOCTYPE", "an HTML page"), (b"<!doctype", "an HTML page"), (b"<html", "an HTML page"),
)  # fmt: skip
"""First bytes of common formats."""


@contextmanager
def regular_file(
    path: str | os.PathLike[str],
    limit: int | None = None,
    error: Callable[[str], CaptionerError] = DataError,
    kind: str = "",
    expected: str = "a file",
) -> Iterator[int]:
    """Open a regular file of at most `limit` bytes for reading and return its descriptor.

    `error` makes the exception from a message. In the message, `kind` names the expected file, such as "checkpoint",
    and `expected` describes it if it is missing.

    Raises: `error` if the file cannot be opened, is not regular or is too large, or if reading it fails, also for
    lack of memory, inside the `with` block.
    """
    try:
        descriptor = os.open(path, FLAGS)
    except FileNotFoundError as problem:
        raise error(f"{path}: not found; expected {expected}; {missing_remedy(path)}") from problem
    except (OSError, ValueError) as problem:
        what = f"cannot open the {kind}" if kind else "cannot be opened"
        raise error(f"{path}: {what}: {getattr(problem, 'strerror', problem)}") from problem
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            got = KINDS.get(stat.S_IFMT(status.st_mode), "a special file")
            raise error(f"{path}: expected a {kind or 'regular'} file, got {got}")
        if limit is not None and status.st_size > limit:
            raise error(f"{path}: expected a file of at most {limit} bytes, got {status.st_size}")
        yield descriptor
    except (OSError, MemoryError) as problem:
        what = f"cannot read the {kind}" if kind else "cannot be read"
        reason = getattr(problem, "strerror", "not enough memory") or problem
        raise error(f"{path}: {what}: {reason}") from problem
    finally:
        os.close(descriptor)


@contextmanager
def enough_memory(path: object) -> Iterator[None]:
    """Raises: DataError that names the file for a MemoryError in the `with` block."""
    try:
        yield
    except MemoryError as problem:
        raise DataError(f"{path}: cannot be read: not enough memory") from problem


def check_output(
    path: str | os.PathLike[str],
    overwrite: bool,
    kind: str = "a file",
    is_kind: Callable[[str | os.PathLike[str]], bool] = os.path.isfile,
    inputs: Iterable[str | os.PathLike[str]] = (),
) -> Callable[[], bool]:
    """Check that a file can be written to `path`; with `overwrite`, an existing one must satisfy `is_kind`
    and be none of the `inputs` that the command reads. Return `may_replace` of `atomic.replacing`.

    A temporary file is created in the folder, and those of killed processes are removed.

    Raises: UsageError; CaptionerError if no file can be created.
    """
    if os.fspath(path) == "-":
        raise UsageError(f"{path}: expected a file name; standard output is not supported here")
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise UsageError(f"{path}: folder not found: {folder}")
    if os.path.isdir(path):
        raise UsageError(f"{path}: expected a file name, got a folder")
    is_link = os.path.islink(path)  # a table is written where its link leads
    if not is_link:  # also beside a whole file: a kill may follow its creation
        remove_temporary_files(Path(path))
    if os.path.lexists(path) and not overwrite:
        raise UsageError(f"{path}: exists already; use another file, or replace it with --overwrite")
    if os.path.lexists(path) and not is_kind(path):
        raise UsageError(f"{path}: expected {kind} to replace, got something else; use another file")
    if any(os.path.exists(path) and os.path.exists(other) and os.path.samefile(path, other) for other in inputs):
        raise UsageError(f"{path}: is a file that this command reads; use another file")
    if not is_link:
        try_folder(Path(path))
    return lambda: overwrite and is_kind(path)


def read_bytes(
    path: str | os.PathLike[str],
    limit: int,
    error: Callable[[str], CaptionerError] = DataError,
    expected: str = "a file",
) -> bytes:
    """Read a regular file of at most `limit` bytes.

    Raises: `error`, as `regular_file`.
    """
    with (
        regular_file(path, limit, error, expected=expected) as descriptor,
        open(descriptor, "rb", closefd=False) as file,
    ):
        # `limit` bytes would be allocated at once; virtual files have the size 0
        return file.read(min(limit, os.fstat(descriptor).st_size or TEXT_LIMIT))


def format_of(content: bytes) -> str:
    """Return the format of a file that begins with `content`, with its article, for a message."""
    if not content:
        return "an empty file"
    if content[4:8] == b"ftyp":
        return "a HEIC or AVIF file" if content[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"avif") else "a video"
    for start, name in FORMATS:
        if content.startswith(start):
            return name
    return "a text file" if is_text(content) else "a file of an unknown format"


def is_text(content: bytes) -> bool:
    """Return whether a file that begins with `content` is empty, or a text of none of the `FORMATS`."""
    text = content[:512].decode("utf-8-sig", "replace").rstrip("\ufffd")  # the last character may be cut
    is_printable = "\ufffd" not in text and "".join(text.split()).isprintable()
    return is_printable and not content.startswith(tuple(start for start, _ in FORMATS))


def read_start(path: str | os.PathLike[str], length: int) -> bytes | None:
    """Read the first bytes of a regular file, at most `length`; return None if they cannot be read."""
    try:
        with regular_file(path) as descriptor:
            return os.read(descriptor, length)
    except DataError:
        return None


def read_text(path: str | os.PathLike[str], expected: str = "a file", limit: int | None = None) -> str:
    """Read a text file in UTF-8, with or without a byte order mark.

    Raises: DataError if it is not a regular file, larger than `limit`, by default `TEXT_LIMIT`, or not such text.
    """
    content = read_bytes(path, limit or TEXT_LIMIT, expected=expected)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        got = f"{content[problem.start : problem.start + 1]!r} at byte {problem.start} of {format_of(content)}"
        raise DataError(f"{path}: expected UTF-8 text, got {got}") from problem


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Compute the SHA-256 of a file. Raises: DataError when it cannot be read."""
    with regular_file(path) as descriptor, open(descriptor, "rb", closefd=False) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def missing_remedy(path: str | os.PathLike[str]) -> str:
    """Return what to try for a missing file: a similar name in its folder, or where to look."""
    try:
        if os.path.islink(path):
            return f"it is a broken link to {os.readlink(path)}"
        folder, base = os.path.split(os.fspath(path))
        if folder and not os.path.isdir(folder):
            return f"folder not found: {folder}"
        with os.scandir(folder or ".") as entries:
            others = [entry.name for entry in islice(entries, MAX_ENTRIES)]
        # photo-2.jpg is another photograph than photo-1.jpg
        names = {other.lower(): other for other in others if NUMBERS.findall(other) == NUMBERS.findall(base)}
        for other in similar(base.lower(), names, 0.75):
            return f"did you mean {os.path.join(folder, names[other])}?"
        return "check the name" if os.path.isabs(path) else f"relative names start at {os.path.realpath('.')}"
    except OSError:  # such as a deleted current folder
        return "check the name"


def to_json(record: dict[str, Any]) -> str:
    """Encode a record as strict ASCII JSON without control characters; NaN and infinity become null."""
    return json.dumps(_finite(record), allow_nan=False).replace("\x7f", "\\u007f")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
