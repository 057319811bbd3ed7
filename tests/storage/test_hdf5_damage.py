"""Damaged files and files of another kind are refused with a one-line error."""

import os
import re

import h5py
import numpy as np
import pytest
from hdf5_files import HINT, MATRIX, error_of

from captioner.errors import DataError
from captioner.storage import hdf5 as h5
from captioner.storage.hdf5 import convert_hdf5_errors, open_dataset


def test_reading_a_damaged_chunk_raises(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("x", (5, 3), "f4", chunks=(5, 3), compression="gzip")
        dataset.id.write_direct_chunk((0, 0), b"not what gzip writes")
    stored = open_dataset(path, "x", numbers="f", ndim=2)
    with pytest.raises(DataError) as caught:
        stored[0:1]
    pattern = r"/.*/a\.h5: dataset 'x': cannot be read \(.+\); " + HINT
    assert re.fullmatch(pattern, str(caught.value))


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = MATRIX
    content = path.read_bytes()
    assert len(content) > 8
    for length in {8, 100, len(content) // 2, len(content) - MATRIX.nbytes, len(content) - 1}:
        path.write_bytes(content[:length])
        pattern = re.escape(str(path)) + r": cannot be read \(.+\); " + HINT
        assert re.fullmatch(pattern, error_of(path))


@pytest.mark.parametrize(
    "content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"\x93NUMPY\x01\0v\0{'de", bytes(900)]
)
def test_a_file_of_another_kind_is_refused_with_its_first_bytes(tmp_path, content):
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    assert error_of(path) == f"{path}: expected an HDF5 file, got one that begins with {content[:16]!r}"


def test_pipes_folders_and_missing_files_are_refused_without_blocking(tmp_path):
    pipe, missing = tmp_path / "pipe", tmp_path / "no.h5"
    os.mkfifo(pipe)
    assert error_of(pipe) == f"{pipe}: expected a regular file, got a named pipe"
    assert error_of(tmp_path) == f"{tmp_path}: expected a regular file, got a folder"
    assert error_of(missing) == f"{missing}: not found; expected an HDF5 file with the dataset 'x'; check the name"


def test_a_file_above_the_size_limit_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    path.write_bytes(bytes(1001))
    monkeypatch.setattr(h5, "FILE_LIMIT", 1000)
    assert error_of(path) == f"{path}: expected a file of at most 1000 bytes, got 1001"


@pytest.mark.parametrize(
    "problem",
    [
        KeyError("a"),
        RuntimeError("two\nlines"),
        OSError(5, "Input/output error"),
        OverflowError(),
        MemoryError(),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    ],
)
def test_every_exception_of_h5py_becomes_a_one_line_error(problem):
    with pytest.raises(DataError) as caught, convert_hdf5_errors("here"):
        raise problem
    assert re.fullmatch(r"here: cannot be read \([^\n]+\); " + HINT, str(caught.value))
    assert caught.value.__cause__ is problem


def test_keyboard_interrupt_is_not_converted():
    with pytest.raises(KeyboardInterrupt), convert_hdf5_errors("here"):
        raise KeyboardInterrupt


@pytest.mark.parametrize("options", [{}, {"chunks": (5, 3), "compression": "gzip", "shuffle": True}])
def test_a_mutated_file_gives_numbers_or_a_one_line_error(tmp_path, options):
    path, outcomes = tmp_path / "a.h5", {"numbers": 0, "refused": 0}
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=MATRIX, **options)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(80):
        mutated = bytearray(content)
        mutated[rng.integers(len(content))] ^= int(rng.integers(1, 256))
        path.write_bytes(mutated)
        try:
            got = open_dataset(path, "x", numbers="f", ndim=2)[:4]
            outcomes["numbers"] += got.ndim == 2
        except DataError as problem:
            outcomes["refused"] += "\n" not in str(problem)
    assert sum(outcomes.values()) == 80
    assert min(outcomes.values()) > 0
