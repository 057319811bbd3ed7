"""Arrays of users' HDF5 files: whole or by rows, of any allowed storage; others are refused with a one-line error."""

import os
import re
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from captioner.errors import CheckpointError, DataError
from captioner.files import hdf5 as module
from captioner.files.hdf5 import DeferredErrorFile, convert_hdf5_errors, open_dataset

HINT = "it may be damaged, truncated or still being written: try a new copy"
MATRIX = np.arange(60, dtype=np.float32).reshape(20, 3)
CHUNKED = {"chunks": (7, 2), "compression": "gzip", "shuffle": True}


def stored_in(path, values=MATRIX, **options):
    """Write an array to a file and open it."""
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=values, **options)
    return open_dataset(path, "x", numbers="f", ndim=values.ndim)


def error_of(path, name="x", **expected):
    with pytest.raises(DataError) as caught:
        open_dataset(path, name, **{"numbers": "f", "ndim": 2, **expected}).read()
    message = str(caught.value)
    assert "\n" not in message
    return message


def virtual(file, name, source):
    layout = h5py.VirtualLayout((20, 3), "f4")
    layout[:] = h5py.VirtualSource(source, "x", shape=(20, 3))
    file.create_virtual_dataset(name, layout)


# --- reading


def index_of(rows):
    """Anything that takes rows of an array: numbers in any order and shape, slices, masks, one number."""
    numbers = st.integers(-rows, rows - 1)
    return st.one_of(
        hnp.arrays(np.int64, hnp.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=9), elements=numbers),
        st.slices(rows),
        hnp.arrays(bool, rows),
        numbers,
    )


SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=40) | hnp.array_shapes(min_dims=4, max_dims=4, max_side=5)


@given(data=st.data(), shape=SHAPES, dtype=st.sampled_from(["f2", "f4", "f8"]), userblock=st.sampled_from([0, 512]))
def test_all_storage_types_return_the_rows_of_the_array(tmp_path_factory, data, shape, dtype, userblock):
    """Features have two axes, regions four."""
    values = np.random.default_rng(len(shape)).standard_normal(shape).astype(dtype)
    path = tmp_path_factory.getbasetemp() / "routes.h5"
    growing = {"chunks": tuple(min(7, side) for side in shape), "maxshape": (None,) * len(shape)}
    with h5py.File(path, "w", userblock_size=userblock) as file:
        file["group/plain"] = values
        file["swapped"] = values.astype(values.dtype.newbyteorder(">"))
        file.create_dataset("gzip", data=values, compression="gzip", shuffle=True, **growing)
        file.create_dataset("lzf", data=values.astype(values.dtype.newbyteorder(">")), compression="lzf", **growing)
    index = data.draw(index_of(shape[0]))
    for name in ("group/plain", "swapped", "gzip", "lzf"):
        stored = open_dataset(path, name, numbers="f", ndim=len(shape))
        assert (stored.shape, stored.dtype, stored.nbytes) == (values.shape, values.dtype, values.nbytes), name
        for got, expected in ((stored[index], values[index]), (stored.read(), values)):
            assert (got.dtype, got.shape) == (values.dtype, np.shape(expected)), name
            assert np.array_equal(got, expected), name
            assert got.flags.writeable, name


def test_rows_out_of_range_raise_index_error(tmp_path):
    for stored in (stored_in(tmp_path / "a.h5"), stored_in(tmp_path / "b.h5", **CHUNKED)):
        for index in (20, -21, [0, 20], np.ones(8, bool)):
            with pytest.raises(IndexError):
                stored[index]


def test_integers_are_read_only_as_integers(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = MATRIX
        file["u"] = np.arange(3, dtype="u2")
    assert open_dataset(path, "u", numbers="iu", ndim=1).read().tolist() == [0, 1, 2]
    expected = f"{path}: dataset 'x': expected integers (rows,), got float32 (20, 3)"
    assert error_of(path, numbers="iu", ndim=1) == expected


TEXTS = ["a", "", "naïve", "猫"]


@pytest.mark.parametrize("options", [{}, {"chunks": (3,), "compression": "gzip"}])
def test_fixed_length_strings_are_read_as_bytes(tmp_path, options):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.array([text.encode() for text in TEXTS]), **options)
    stored = open_dataset(path, "x", numbers="S", ndim=1)
    assert [text.decode() for text in stored.read().tolist()] == TEXTS
    assert [text.decode() for text in stored[1:3].tolist()] == TEXTS[1:3]


@given(index=hnp.arrays(np.int64, st.integers(1, 60), elements=st.integers(0, 4999)))
def test_chunked_rows_are_read_once_in_ascending_order(tmp_path_factory, index):
    reads, values = [], np.arange(10_000.0).reshape(5000, 2)
    stored = stored_in(tmp_path_factory.getbasetemp() / "spied.h5", values, chunks=(50, 2))

    class Spy:
        def astype(self, dtype):
            return self

        def __getitem__(self, rows):
            reads.append(rows)
            return values[rows]

    stored._dataset = Spy()
    assert np.array_equal(stored[index], values[index])
    (read,) = reads
    if isinstance(read, slice):
        assert read.stop - read.start <= module.DENSE * len(index)
    else:
        assert (np.diff(read) > 0).all()


def test_partial_reads_are_completed(tmp_path, monkeypatch):
    stored, preadv = stored_in(tmp_path / "a.h5"), os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, into, start: preadv(file, [part[:7] for part in into], start))
    assert np.array_equal(stored[:], MATRIX)
    assert np.array_equal(stored[[8, 0]], MATRIX[[8, 0]])


@pytest.mark.parametrize("options", [{}, CHUNKED], ids=["contiguous", "chunked"])
def test_concurrent_threads_read_their_rows(options, tmp_path):
    values = np.arange(400, dtype=np.float32).repeat(64).reshape(400, 64)
    stored = stored_in(tmp_path / "a.h5", values, **options)
    orders = [np.random.default_rng(seed).permutation(400) for seed in range(40)]
    with ThreadPoolExecutor(4) as pool:
        for order, got in zip(orders, pool.map(stored.__getitem__, orders), strict=True):
            assert np.array_equal(got, values[order])


# --- files that change while they are open


@pytest.mark.parametrize("options", [{}, CHUNKED], ids=["contiguous", "chunked"])
def test_rows_of_a_modified_file_are_rejected(options, tmp_path):
    path = tmp_path / "a.h5"
    stored = stored_in(path, **options)
    assert stored[:7].sum() == MATRIX[:7].sum()
    os.utime(path, ns=(1, 1))  # whatever the grain of the system's clock
    for index in (slice(0, 10), [0, 15], 19):
        with pytest.raises(DataError) as caught:
            stored[index]
        expected = (
            f"{path}: dataset 'x': the file was written to while it was in use; do not modify it while captioner runs"
        )
        assert str(caught.value) == expected


def test_rows_of_a_truncated_file_are_reported(tmp_path):
    stored = stored_in(tmp_path / "a.h5")
    os.truncate(tmp_path / "a.h5", os.path.getsize(tmp_path / "a.h5") - 50)
    for index in (slice(0, 20), [0, 19], 19):
        with pytest.raises(DataError, match=r"dataset 'x': the file was truncated; try a fresh copy$"):
            stored[index]


@pytest.mark.parametrize("options", [{}, CHUNKED], ids=["contiguous", "chunked"])
def test_a_replaced_file_keeps_its_old_rows(options, tmp_path):
    stored = stored_in(tmp_path / "a.h5", **options)
    stored_in(tmp_path / "b.h5", -MATRIX)
    os.replace(tmp_path / "b.h5", tmp_path / "a.h5")
    assert np.array_equal(stored[:], MATRIX)
    assert np.array_equal(stored.read(), MATRIX)


# --- files that are refused


def test_reading_a_damaged_chunk_raises(tmp_path):
    path = tmp_path / "a.h5"
    stored_in(path, np.ones((14, 2)), **CHUNKED)
    with h5py.File(path, "r+") as file:
        file["x"].id.write_direct_chunk((7, 0), b"not what gzip writes")
    stored = open_dataset(path, "x", numbers="f", ndim=2)
    assert stored[:7].sum() == 14
    for index in (slice(7, 9), [0, 13]):
        with pytest.raises(DataError) as caught:
            stored[index]
        assert re.fullmatch(rf"{path}: dataset 'x': cannot be read \(.+\); {HINT}", str(caught.value))


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    stored_in(path)
    content = path.read_bytes()
    for length in {8, 100, len(content) // 2, len(content) - MATRIX.nbytes, len(content) - 1}:
        path.write_bytes(content[:length])
        assert re.fullmatch(re.escape(str(path)) + r": cannot be read \(.+\); " + HINT, error_of(path))


@pytest.mark.parametrize(
    "problem",
    [KeyError("a"), RuntimeError("two\nlines"), OSError(5, "Input/output error"), OverflowError()],
)
def test_every_exception_of_h5py_becomes_a_one_line_error(problem):
    for error in (DataError, CheckpointError):
        with pytest.raises(error) as caught, convert_hdf5_errors("here", error):
            raise problem
        assert re.fullmatch(r"here: cannot be read \([^\n]+\); " + HINT, str(caught.value))
        assert caught.value.__cause__ is problem
    with pytest.raises(DataError, match=r"^here: cannot be read: not enough memory$"), convert_hdf5_errors("here"):
        raise MemoryError
    with pytest.raises(KeyboardInterrupt), convert_hdf5_errors("here"):
        raise KeyboardInterrupt


IN_THIS_FILE = "expected data in this file, got a soft or external link at 'x'"
STORAGE = "expected contiguous or chunked storage in this file, got "
OTHER = "expected numbers or fixed-length strings, got other data "
FLOATS = "expected floats (rows, columns), got "
FILTERS = "expected no filter but gzip, lzf and shuffle, each once, got "
PLANTED = {
    "soft link": (lambda f: f.update({"y": MATRIX, "x": h5py.SoftLink("/y")}), IN_THIS_FILE),
    "external link": (lambda f: f.update({"x": h5py.ExternalLink("b.h5", "x")}), IN_THIS_FILE),
    "virtual": (lambda f: virtual(f, "x", "b.h5"), STORAGE + "virtual storage"),
    "external storage": (
        lambda f: f.create_dataset("x", MATRIX.shape, "f4", external=[("secret", 0, MATRIX.nbytes)]),
        STORAGE + "external storage",
    ),
    "group": (lambda f: f.create_group("x"), "dataset not found; this file has 'x'"),
    "type": (
        lambda f: f.update({"x": np.dtype("f4")}),
        "expected groups and then a dataset, got another object at 'x'",
    ),
    "fletcher32": (lambda f: f.create_dataset("x", data=MATRIX, fletcher32=True), FILTERS + "'fletcher32'"),
    "texts": (lambda f: f.update({"x": ["a", "b"]}), OTHER + "(object)"),
    "booleans": (lambda f: f.update({"x": MATRIX > 0}), OTHER + "(bool)"),
    "one axis": (lambda f: f.update({"x": MATRIX[0]}), FLOATS + "float32 (3,)"),
    "null": (lambda f: f.update({"x": h5py.Empty("f4")}), "expected an array, got no values"),
    "no rows": (lambda f: f.update({"x": MATRIX[:0]}), "expected at least one number, got (0, 3)"),
    "never written": (lambda f: f.create_dataset("x", (20, 3), "f4"), "expected 240 bytes of numbers, got 0"),
    "a claim of 8 TB": (
        lambda f: f.create_dataset("x", (1 << 31, 1 << 10), "f4", chunks=(64, 1 << 10), compression="gzip"),
        "expected 33554432 chunks of at most 262144 bytes, got 0 of 0 in all",
    ),
    "a chunk of 1 GB": (
        lambda f: f.create_dataset("x", (1 << 18, 1 << 10), "f4", chunks=(1 << 18, 1 << 10), compression="gzip"),
        "expected chunks of at most 268435456 bytes, got 1073741824 (262144, 1024)",
    ),
    "a chunk larger than its numbers": (
        lambda f: f.create_dataset("x", (5, 3), "f4", chunks=(5, 3), compression="gzip").id.write_direct_chunk(
            (0, 0), bytes(5000)
        ),
        "expected 1 chunks of at most 60 bytes, got 1 of 5000 in all",
    ),
    "a missing chunk": (
        lambda f: f.create_dataset("x", (20, 3), "f4", chunks=(5, 3)).__setitem__(slice(15), 1),
        "expected 4 chunks of at most 60 bytes, got 3 of 180 in all",
    ),
    "missing": (lambda f: f.update({"y": 1, "z": 2}), "dataset not found; this file has 'y', 'z'"),
}


@pytest.mark.parametrize(("plant", "problem"), PLANTED.values(), ids=PLANTED)
def test_a_dataset_that_is_not_plain_numbers_in_this_file_is_refused(tmp_path, monkeypatch, plant, problem):
    monkeypatch.chdir(tmp_path)  # where HDF5 looks for other files
    (tmp_path / "secret").write_bytes(bytes(1000))
    os.mkfifo("pipe")  # opening it would hang
    with h5py.File("b.h5", "w") as file:
        file["x"] = MATRIX
    with h5py.File("a.h5", "w") as file:
        plant(file)
    assert error_of("a.h5") == f"a.h5: dataset 'x': {problem}"


def test_a_linked_group_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with h5py.File("b.h5", "w") as file:
        file["group/x"] = MATRIX
    with h5py.File("a.h5", "w") as file:
        file["away"] = h5py.ExternalLink("b.h5", "group")
        file["y"] = MATRIX
    problem = "expected data in this file, got a soft or external link at 'away'"
    assert error_of("a.h5", "away/x") == f"a.h5: dataset 'away/x': {problem}"
    for name in ("", "/", "../y", "no/x", "\udc00", "y/x"):
        assert error_of("a.h5", name) == f"a.h5: dataset {name!r}: dataset not found; this file has 'away', 'y'"


# --- writing


def test_a_full_disk_is_an_error_at_the_end(tmp_path, files_of_at_most):
    def write():
        with DeferredErrorFile(tmp_path / "a") as file:
            assert file.write(b"x" * 100) == 100
            assert file.write(b"y" * 100) == 100
            assert file.seek(0) == 0
            assert file.write(b"z") == 1

    with files_of_at_most(50), pytest.raises(OSError, match="File too large"):
        write()
    with files_of_at_most(200):
        write()
    assert (tmp_path / "a").read_bytes() == b"z" + b"x" * 99 + b"y" * 100
