"""Numbers and strings of HDF5 files are read; damaged files are refused; open files are closed."""

import fcntl
import os
import re
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
from h5py import h5d, h5t, h5z
from hdf5_files import HINT, MATRIX, error_of, low_level
from hypothesis import given
from hypothesis import strategies as st

from captioner.errors import DataError
from captioner.storage import hdf5 as h5
from captioner.storage.files import format_of
from captioner.storage.hdf5 import convert_hdf5_errors, open_dataset


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("<f2", {}),
        ("<f4", {}),
        (">f8", {}),
        ("<f4", {"chunks": (7, 2)}),
        ("<f4", {"chunks": (7, 2), "maxshape": (None, 3)}),
        (">f4", {"compression": "gzip", "shuffle": True}),
        ("<f2", {"compression": "lzf", "chunks": (20, 3)}),
    ],
)
def test_numbers_are_read_in_native_byte_order(tmp_path, dtype, options):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("group/x", data=MATRIX.astype(dtype), **options)
    stored = open_dataset(path, "group/x", numbers="f", ndim=2)
    assert stored.dtype.isnative
    assert stored.dtype == np.dtype(dtype).newbyteorder("=")
    assert (stored.offset is None) == (bool(options) or not np.dtype(dtype).isnative)
    for rows in (slice(None), slice(3, 8), np.array([0, 4, 19])):
        got = stored[rows]
        assert got.dtype == stored.dtype
        assert np.array_equal(got, MATRIX[rows])


def test_compact_numbers_are_read(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        low_level(file, "x", h5t.IEEE_F32LE, lambda plan: plan.set_layout(h5d.COMPACT))
    stored = open_dataset(path, "x", numbers="f", ndim=2)
    assert stored.offset is None
    assert np.array_equal(stored[:], MATRIX)


@given(userblock=st.sampled_from([0, 512, 1024]), before=st.integers(1, 9))
def test_the_numbers_are_at_the_offset_of_the_descriptor(tmp_path_factory, userblock, before):
    path = tmp_path_factory.mktemp("direct") / "a.h5"
    with h5py.File(path, "w", userblock_size=userblock) as file:
        file["odd"] = np.zeros(before, "i1")
        file["x"] = MATRIX
    stored = open_dataset(path, "x", numbers="f", ndim=2)
    assert os.path.samefile(f"/dev/fd/{stored.file.number}", path)
    assert os.pread(stored.file.number, MATRIX.nbytes, stored.offset) == MATRIX.tobytes()


def test_a_file_that_is_already_open_is_read(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = MATRIX
    with h5py.File(path) as file:
        assert np.array_equal(open_dataset(path, "x", numbers="f", ndim=2)[:], file["x"])


def test_no_descriptor_outlives_its_dataset(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = MATRIX
        file["y"] = MATRIX[0]
    kept, before = [], len(os.listdir("/dev/fd"))
    for _ in range(3):
        open_dataset(path, "x", numbers="f", ndim=2)[:]
        with pytest.raises(DataError) as caught:
            open_dataset(path, "y", numbers="f", ndim=2)
        kept.append(caught)  # keeps the frames of the traceback alive, as a notebook does
    assert len(os.listdir("/dev/fd")) == before


def test_integers_are_read_only_as_integers(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = MATRIX
        file["u"] = np.arange(3, dtype="u2")
    assert open_dataset(path, "u", numbers="iu", ndim=1)[:].tolist() == [0, 1, 2]
    expected = f"{path}: dataset 'x': expected integers (rows,), got float32 (20, 3)"
    assert error_of(path, numbers="iu", ndim=1) == expected


TEXTS = ["a", "", "naïve", "猫"]


@pytest.mark.parametrize("options", [{}, {"chunks": (3,), "compression": "gzip"}])
def test_fixed_length_strings_are_read_as_bytes(tmp_path, options):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.array([text.encode() for text in TEXTS]), **options)
        file["one"] = np.bytes_(b"alone")
    stored = open_dataset(path, "x", numbers="S", ndim=1)
    assert [text.decode() for text in stored[()].tolist()] == TEXTS
    assert [text.decode() for text in stored[1:3].tolist()] == TEXTS[1:3]
    assert open_dataset(path, "one", numbers="S", ndim=0)[()].item() == b"alone"


def test_every_allowed_filter_is_available_in_h5py():
    assert all(h5z.filter_avail(code) for code in h5.FILTERS)


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
    assert error_of(path) == f"{path}: expected an HDF5 file, got {format_of(content)}"


def test_missing_and_large_files_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    assert error_of(path) == f"{path}: not found; expected an HDF5 file with the dataset 'x'; check the name"
    path.write_bytes(bytes(1001))
    monkeypatch.setattr(h5, "FILE_LIMIT", 1000)
    assert error_of(path) == f"{path}: expected a file of at most 1000 bytes, got 1001"


@pytest.mark.parametrize(
    "problem",
    [KeyError("a"), RuntimeError("two\nlines"), OSError(5, "Input/output error"), OverflowError(), MemoryError()],
)
def test_every_exception_of_h5py_becomes_a_one_line_error(problem):
    with pytest.raises(DataError) as caught, convert_hdf5_errors("here"):
        raise problem
    assert re.fullmatch(r"here: cannot be read \([^\n]+\); " + HINT, str(caught.value))
    assert caught.value.__cause__ is problem
    with pytest.raises(KeyboardInterrupt), convert_hdf5_errors("here"):
        raise KeyboardInterrupt


STRACE = shutil.which("strace")
READ_TWICE = """
import sys
from captioner.storage.hdf5 import open_dataset

opened = [open_dataset(sys.argv[1], "x", numbers="f", ndim=2) for _ in range(2)]
print(*(stored[:].tolist() == opened[0][:].tolist() for stored in opened))
"""


@pytest.mark.skipif(STRACE is None, reason="needs strace, since HDF5 calls flock itself")
def test_a_file_on_a_file_system_without_locks_is_read(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = MATRIX
    inject = [STRACE, "-f", "-o", tmp_path / "trace", "-e", "trace=flock", "-e", "inject=flock:error=ENOLCK"]
    done = subprocess.run([*inject, sys.executable, "-c", READ_TWICE, path], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "True True\n"), done.stderr
    assert "ENOLCK" in (tmp_path / "trace").read_text()


def test_a_file_that_another_program_writes_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = MATRIX
    with open(path, "rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"unable to lock file.*still being written: try a new copy"):
            open_dataset(path, "x", numbers="f", ndim=2)
