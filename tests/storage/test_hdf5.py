import os
import re
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t, h5z
from hypothesis import given
from hypothesis import strategies as st

from captioner.errors import DataError
from captioner.storage import hdf5 as h5
from captioner.storage.hdf5 import convert_hdf5_errors, open_dataset

HINT = "it may be damaged, truncated or still being written: try a new copy"
MATRIX = np.arange(60, dtype=np.float32).reshape(20, 3)


def refusal(path, name="x", **expected):
    with pytest.raises(DataError) as caught:
        open_dataset(path, name, **{"numbers": "f", "ndim": 2, **expected})[:]
    message = str(caught.value)
    assert "\n" not in message
    return message


def low_level(file, name, kind, configure):
    """Create a dataset with properties that h5py's create_dataset does not support."""
    plan = h5p.create(h5p.DATASET_CREATE)
    configure(plan)
    dataset = h5d.create(file.id, name.encode(), kind, h5s.create_simple(MATRIX.shape), plan)
    dataset.write(h5s.ALL, h5s.ALL, MATRIX)


def gzip_twice(plan):
    plan.set_chunk((5, 3))
    plan.set_deflate(1)
    plan.set_deflate(1)


def seventeen_bits():
    kind = h5t.STD_I32LE.copy()
    kind.set_precision(17)
    return kind


def virtual(file, name, source, **shape):
    layout = h5py.VirtualLayout((20, 3), "f4", **shape)
    rows = slice(0, h5s.UNLIMITED) if shape else slice(None)
    layout[rows, :] = h5py.VirtualSource(source, "x", shape=(20, 3), **shape)[rows, :]
    file.create_virtual_dataset(name, layout)


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
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = MATRIX
    with open(path, "rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"unable to lock file.*still being written: try a new copy"):
            open_dataset(path, "x", numbers="f", ndim=2)


IN_THIS_FILE = "expected data in this file, got "
FLOATS = "expected floats (rows, columns), got "
FILTERS = "expected no filter but gzip, lzf and shuffle, each once, got "
PLANTED = {
    "soft link": (
        lambda f: f.update({"y": MATRIX, "x": h5py.SoftLink("/y")}),
        IN_THIS_FILE + "a soft or external link",
    ),
    "external link": (
        lambda f: f.update({"x": h5py.ExternalLink("b.h5", "x")}),
        IN_THIS_FILE + "a soft or external link",
    ),
    "virtual": (lambda f: virtual(f, "x", "b.h5"), IN_THIS_FILE + "virtual storage"),
    "external storage": (
        lambda f: f.create_dataset("x", MATRIX.shape, "f4", external=[("secret", 0, MATRIX.nbytes)]),
        IN_THIS_FILE + "external storage",
    ),
    "group": (lambda f: f.create_group("x"), "expected groups and then a dataset, got another object at 'x'"),
    "type": (
        lambda f: f.update({"x": np.dtype("f4")}),
        "expected groups and then a dataset, got another object at 'x'",
    ),
    "fletcher32": (lambda f: f.create_dataset("x", data=MATRIX, fletcher32=True), FILTERS + "'fletcher32'"),
    "scale": (lambda f: f.create_dataset("x", data=MATRIX, scaleoffset=2), FILTERS + "'scaleoffset'"),
    "gzip twice": (lambda f: low_level(f, "x", h5t.IEEE_F32LE, gzip_twice), FILTERS + "'deflate, deflate'"),
    "texts": (lambda f: f.update({"x": ["a", "b"]}), FLOATS + "other data (object)"),
    "fixed texts": (lambda f: f.update({"x": np.array([[b"a"]])}), FLOATS + "|S1 (1, 1)"),
    "lists": (lambda f: f.create_dataset("x", (2, 3), h5py.vlen_dtype("f4")), FLOATS + "other data (object)"),
    "references": (lambda f: f.create_dataset("x", (2, 3), h5py.ref_dtype), FLOATS + "other data (object)"),
    "booleans": (lambda f: f.update({"x": MATRIX > 0}), FLOATS + "other data (bool)"),
    "complex": (lambda f: f.update({"x": MATRIX.astype("c8")}), FLOATS + "other data (complex64)"),
    "odd numbers": (lambda f: low_level(f, "x", seventeen_bits(), lambda plan: 0), FLOATS + "other data (int32)"),
    "integers": (lambda f: f.update({"x": MATRIX.astype("i4")}), FLOATS + "int32 (20, 3)"),
    "one axis": (lambda f: f.update({"x": MATRIX[0]}), FLOATS + "float32 (3,)"),
    "scalar": (lambda f: f.update({"x": 1.5}), FLOATS + "float64 ()"),
    "null": (lambda f: f.update({"x": h5py.Empty("f4")}), FLOATS + "float32 (), which is empty"),
    "no rows": (lambda f: f.update({"x": MATRIX[:0]}), FLOATS + "float32 (0, 3), which is empty"),
    "never written": (lambda f: f.create_dataset("x", (20, 3), "f4"), "expected 240 bytes of numbers, got 0"),
    "no chunks": (
        lambda f: f.create_dataset("x", (20, 3), "f4", chunks=(6, 2)),
        "expected 8 chunks of at most 48 bytes, got 0 of 0 in all",
    ),
    "a claim of 8 TB": (
        lambda f: f.create_dataset("x", (1 << 31, 1 << 10), "f4", chunks=(64, 1 << 10), compression="gzip"),
        "expected 33554432 chunks of at most 262144 bytes, got 0 of 0 in all",
    ),
    "a chunk of 1 GB": (
        lambda f: f.create_dataset("x", (1 << 18, 1 << 10), "f4", chunks=(1 << 18, 1 << 10), compression="gzip"),
        "expected chunks of at most 268435456 bytes, got 1073741824 (262144, 1024)",
    ),
    "missing": (lambda f: f.update({"y": 1, "z": 2}), "dataset not found; this file has 'y', 'z'"),
    "empty": (lambda f: None, "dataset not found; this file has none"),
}


@pytest.mark.parametrize(("plant", "problem"), PLANTED.values(), ids=PLANTED)
def test_a_dataset_that_is_not_plain_numbers_in_this_file_is_refused(tmp_path, monkeypatch, plant, problem):
    monkeypatch.chdir(tmp_path)  # where HDF5 looks for other files
    (tmp_path / "secret").write_bytes(bytes(1000))
    with h5py.File("b.h5", "w") as file:
        file["x"] = MATRIX
    with h5py.File("a.h5", "w") as file:
        plant(file)
    assert refusal("a.h5") == f"a.h5: dataset 'x': {problem}"


@pytest.mark.parametrize("shape", [{}, {"maxshape": (None, 3)}])
def test_a_virtual_dataset_is_refused_before_its_source_is_opened(tmp_path, monkeypatch, shape):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with h5py.File("a.h5", "w") as file:
        virtual(file, "x", "pipe", **shape)
    assert refusal("a.h5") == "a.h5: dataset 'x': expected data in this file, got virtual storage"


def test_a_linked_group_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with h5py.File("b.h5", "w") as file:
        file["group/x"] = MATRIX
    with h5py.File("a.h5", "w") as file:
        file["away"] = h5py.ExternalLink("b.h5", "group")
        file["y"] = MATRIX
    assert refusal("a.h5", "away/x") == (
        "a.h5: dataset 'away/x': expected data in this file, got a soft or external link"
    )
    assert refusal("a.h5", "y/x") == (
        "a.h5: dataset 'y/x': expected groups and then a dataset, got another object at 'y'"
    )
    for name in ("", "/", "../y", "no/x", "\udc00"):
        assert refusal("a.h5", name) == f"a.h5: dataset {name!r}: dataset not found; this file has 'away', 'y'"


def test_integers_are_read_only_as_integers(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = MATRIX
        file["u"] = np.arange(3, dtype="u2")
    assert open_dataset(path, "u", numbers="iu", ndim=1)[:].tolist() == [0, 1, 2]
    assert refusal(path, numbers="iu", ndim=1) == f"{path}: dataset 'x': expected integers (rows,), got float32 (20, 3)"


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


WORDS = "expected fixed-length strings (rows,), got "
NOT_TEXTS = {
    "numbers": (lambda f: f.update({"x": MATRIX[0]}), WORDS + "float32 (3,)"),
    "no text": (lambda f: f.create_dataset("x", (0,), "S3"), WORDS + "|S3 (0,), which is empty"),
    "variable length": (lambda f: f.update({"x": ["a", "b"]}), WORDS + "other data (object)"),
    "a single one": (lambda f: f.update({"x": np.bytes_(b"alone")}), WORDS + "|S5 ()"),
    "null": (lambda f: f.update({"x": h5py.Empty("S3")}), WORDS + "|S3 (), which is empty"),
    "external storage": (
        lambda f: f.create_dataset("x", (4,), "S8", external=[("secret", 0, 32)]),
        IN_THIS_FILE + "external storage",
    ),
    "never written": (lambda f: f.create_dataset("x", (4,), "S8"), "expected 32 bytes of numbers, got 0"),
}


@pytest.mark.parametrize(("plant", "problem"), NOT_TEXTS.values(), ids=NOT_TEXTS)
def test_a_dataset_that_is_not_plain_strings_in_this_file_is_refused(tmp_path, plant, problem):
    (tmp_path / "secret").write_bytes(bytes(1000))
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        plant(file)
    assert refusal(path, numbers="S", ndim=1) == f"{path}: dataset 'x': {problem}"


def test_an_empty_dataset_is_not_a_string(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = h5py.Empty("S3")
    expected = f"{path}: dataset 'x': expected fixed-length strings (), got |S3 (), which is empty"
    assert refusal(path, numbers="S", ndim=0) == expected


def test_a_missing_chunk_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("x", (20, 3), "f4", chunks=(5, 3), compression="gzip")
        dataset[:15] = 1
    expected = r": dataset 'x': expected 4 chunks of at most 60 bytes, got 3 of \d+ in all"
    assert re.fullmatch(re.escape(str(path)) + expected, refusal(path))


def test_a_chunk_much_larger_than_its_numbers_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("x", (5, 3), "f4", chunks=(5, 3), compression="gzip")
        dataset.id.write_direct_chunk((0, 0), bytes(5000))
    assert refusal(path) == f"{path}: dataset 'x': expected 1 chunks of at most 60 bytes, got 1 of 5000 in all"


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
        assert re.fullmatch(pattern, refusal(path))


@pytest.mark.parametrize(
    "content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"\x93NUMPY\x01\0v\0{'de", bytes(900)]
)
def test_a_file_of_another_kind_is_refused_with_its_first_bytes(tmp_path, content):
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    assert refusal(path) == f"{path}: expected an HDF5 file, got one that begins with {content[:16]!r}"


def test_pipes_folders_and_missing_files_are_refused_without_blocking(tmp_path):
    pipe, missing = tmp_path / "pipe", tmp_path / "no.h5"
    os.mkfifo(pipe)
    assert refusal(pipe) == f"{pipe}: expected a regular file, got a named pipe"
    assert refusal(tmp_path) == f"{tmp_path}: expected a regular file, got a folder"
    assert refusal(missing) == f"{missing}: not found; expected an HDF5 file with the dataset 'x'; check the name"


def test_a_file_above_the_size_limit_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    path.write_bytes(bytes(1001))
    monkeypatch.setattr(h5, "FILE_LIMIT", 1000)
    assert refusal(path) == f"{path}: expected a file of at most 1000 bytes, got 1001"


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


def test_every_allowed_filter_is_available_in_h5py():
    assert all(h5z.filter_avail(code) for code in h5.FILTERS)
