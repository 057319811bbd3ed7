"""Damaged checkpoints and files of another kind are refused with a one-line error."""

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from checkpoints import error_of

from captioner.storage.sealed import SIZE

MUTATIONS: dict[str, Callable[[bytearray, int, np.random.Generator], None]] = {
    "bit": lambda b, at, rng: b.__setitem__(at, b[at] ^ 1 << int(rng.integers(8))),
    "byte": lambda b, at, rng: b.__setitem__(at, int(rng.integers(256))),
    "cut": lambda b, at, rng: b.__delitem__(slice(at, None)),
    "hole": lambda b, at, rng: b.__setitem__(slice(at, at + 512), bytes(len(b[at : at + 512]))),
    "lost": lambda b, at, rng: b.__delitem__(slice(at, at + int(rng.integers(1, 512)))),
    "more": lambda b, at, rng: b.__setitem__(slice(at, at), rng.bytes(int(rng.integers(1, 512)))),
    "noise": lambda b, at, rng: b.__setitem__(slice(at, at + 64), rng.bytes(len(b[at : at + 64]))),
    "twice": lambda b, at, rng: b.__setitem__(slice(at, at), b[at:]),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_damage_is_detected(mutation: str, whole: bytes, tmp_path: Path) -> None:
    path, rng = tmp_path / "last.h5", np.random.default_rng(list(MUTATIONS).index(mutation))
    for trial in range(40):
        damaged = bytearray(whole)
        within = 110 if trial % 4 == 0 else len(whole)  # every fourth time in the seal, the only part that is parsed
        MUTATIONS[mutation](damaged, int(rng.integers(within)), rng)
        if damaged != whole:
            path.write_bytes(damaged)
            error_of(path)


def test_a_later_version_is_refused(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "last.h5"
    path.write_bytes(whole.replace(b"checkpoint 2 ", b"checkpoint 3 ", 1))
    assert error_of(path) == "expected checkpoint version 2, got 3; use the version of captioner that wrote it"


def test_a_truncated_file_is_refused_with_both_sizes(whole: bytes, tmp_path: Path) -> None:
    path, size = tmp_path / "last.h5", len(whole) - SIZE
    path.write_bytes(whole[:-1000])
    assert error_of(path) == f"damaged: expected {size:,} bytes after the seal, got {size - 1000:,}"
    path.write_bytes(whole[:300])
    assert "-" not in error_of(path)


NOT_CHECKPOINTS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "empty": lambda path: path.touch(),
    "text": lambda path: path.write_text("seed: 3\n" * 1000),
    "folder": lambda path: path.mkdir(),
    "pipe": lambda path: os.mkfifo(path),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "dangling": lambda path: path.symlink_to("nowhere"),
    "circle": lambda path: path.symlink_to(path),
    "hdf5": lambda path: h5py.File(path, "w").close(),
    "pickle": lambda path: path.write_bytes(b"\x80\x04cos\nsystem\n(S'false'\ntR."),
    "below_a_file": lambda path: path.parent.rmdir() or path.parent.touch(),
}
EXPECTED = {
    "missing": "not found; expected a checkpoint from `captioner train`; check the name",
    "folder": "expected a checkpoint file, got a folder",
    "pipe": "expected a checkpoint file, got a named pipe",
    "device": "expected a checkpoint file, got a device",
    "dangling": "not found; expected a checkpoint from `captioner train`; it is a broken link to nowhere",
    "circle": "cannot open the checkpoint: Too many levels of symbolic links",
    "below_a_file": "cannot open the checkpoint: Not a directory",
}


@pytest.mark.parametrize("kind", NOT_CHECKPOINTS)
def test_a_file_of_another_kind_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "last.h5"
    path.parent.mkdir()
    NOT_CHECKPOINTS[kind](path)
    other = "not a captioner checkpoint; expected a file that `captioner train` wrote"
    assert error_of(path) == EXPECTED.get(kind, other)
