"""Datasets that are not plain numbers or strings in this file are refused with a one-line error."""

import os
import re

import h5py
import numpy as np
import pytest
from h5py import h5t
from hdf5_files import IN_THIS_FILE, MATRIX, error_of, gzip_twice, low_level, seventeen_bits, virtual

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
    "gzip twice": (lambda f: low_level(f, "x", h5t.IEEE_F32LE, gzip_twice), FILTERS + "'deflate, deflate'"),
    "texts": (lambda f: f.update({"x": ["a", "b"]}), FLOATS + "other data (object)"),
    "fixed texts": (lambda f: f.update({"x": np.array([[b"a"]])}), FLOATS + "|S1 (1, 1)"),
    "booleans": (lambda f: f.update({"x": MATRIX > 0}), FLOATS + "other data (bool)"),
    "odd numbers": (lambda f: low_level(f, "x", seventeen_bits(), lambda plan: 0), FLOATS + "other data (int32)"),
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
    assert error_of("a.h5") == f"a.h5: dataset 'x': {problem}"


@pytest.mark.parametrize("shape", [{}, {"maxshape": (None, 3)}])
def test_a_virtual_dataset_is_refused_before_its_source_is_opened(tmp_path, monkeypatch, shape):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with h5py.File("a.h5", "w") as file:
        virtual(file, "x", "pipe", **shape)
    assert error_of("a.h5") == "a.h5: dataset 'x': expected data in this file, got virtual storage"


def test_a_linked_group_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with h5py.File("b.h5", "w") as file:
        file["group/x"] = MATRIX
    with h5py.File("a.h5", "w") as file:
        file["away"] = h5py.ExternalLink("b.h5", "group")
        file["y"] = MATRIX
    assert error_of("a.h5", "away/x") == (
        "a.h5: dataset 'away/x': expected data in this file, got a soft or external link"
    )
    assert error_of("a.h5", "y/x") == (
        "a.h5: dataset 'y/x': expected groups and then a dataset, got another object at 'y'"
    )
    for name in ("", "/", "../y", "no/x", "\udc00"):
        assert error_of("a.h5", name) == f"a.h5: dataset {name!r}: dataset not found; this file has 'away', 'y'"


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
    assert error_of(path, numbers="S", ndim=1) == f"{path}: dataset 'x': {problem}"


def test_an_empty_dataset_is_not_a_string(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = h5py.Empty("S3")
    expected = f"{path}: dataset 'x': expected fixed-length strings (), got |S3 (), which is empty"
    assert error_of(path, numbers="S", ndim=0) == expected


def test_a_missing_chunk_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("x", (20, 3), "f4", chunks=(5, 3), compression="gzip")
        dataset[:15] = 1
    expected = r": dataset 'x': expected 4 chunks of at most 60 bytes, got 3 of \d+ in all"
    assert re.fullmatch(re.escape(str(path)) + expected, error_of(path))


def test_a_chunk_much_larger_than_its_numbers_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("x", (5, 3), "f4", chunks=(5, 3), compression="gzip")
        dataset.id.write_direct_chunk((0, 0), bytes(5000))
    assert error_of(path) == f"{path}: dataset 'x': expected 1 chunks of at most 60 bytes, got 1 of 5000 in all"
