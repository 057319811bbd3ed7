"""Damaged prepared data sets, and invalid ones with a valid seal, are rejected with a one-line error."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from sealed_sets import MODULE, WHOLE, assert_same, refusal

from captioner.data.prepared import DATA_SET_SEAL, prepared
from captioner.errors import DataError
from captioner.storage.sealed import SIZE

# --- damage


def test_every_byte_of_the_seal_and_a_sample_of_the_content_are_verified(whole: bytes, tmp_path: Path) -> None:
    """`faults/damaged.py` damages files in other ways."""
    path = tmp_path / "a.h5"
    for at in [*range(SIZE), *range(SIZE, len(whole), 97)]:
        path.write_bytes(whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :])
        assert refusal(path), f"byte {at} may change"


def test_other_files_are_rejected(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    assert refusal(path) == "not found; expected a data set from `captioner prepare`; check the name"
    for content in (b"", b"image,caption\n", whole[SIZE:], whole.replace(b"data set", b"checkpoint", 1)):
        path.write_bytes(content)
        assert refusal(path) == "not a captioner data set; expected a file that `captioner prepare` wrote"
    path.unlink()
    os.mkfifo(path)
    assert refusal(path) == "expected a data set file, got a named pipe"
    path.unlink()
    path.mkdir()
    assert refusal(path) == "expected a data set file, got a folder"


def test_an_empty_name_is_not_the_current_folder() -> None:
    with pytest.raises(DataError, match=r"^\.: expected a data set file, got a folder$"):
        prepared(None)


# --- hostile files: well sealed, and wrong inside


@contextmanager
def resealed(path: Path, content: bytes) -> Iterator[h5py.File]:
    """A file to be changed, which then gets the seal of a hostile writer: with the right digest."""
    path.write_bytes(content)
    with h5py.File(path, "r+", libver="latest") as file:
        yield file
    payload = path.read_bytes()[SIZE:]
    path.write_bytes(DATA_SET_SEAL.of(len(payload), hashlib.sha256(payload).hexdigest()) + payload)


def put(file: h5py.File, name: str, **how: Any) -> None:
    if name in file:
        del file[name]
    file.create_dataset(name, **how)


def put_meta(file: h5py.File, **changes: Any) -> None:
    meta = {**json.loads(file["meta"][()]), **changes}
    put(file, "meta", data=np.bytes_(json.dumps(meta).encode()))


ARRAYS = ("captions", "image_idxs", "features", "images", "texts")
HOSTILE: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "soft_link": (
        lambda f: (f.move("val", "x"), f.__setitem__("val", h5py.SoftLink("/x"))), "data in this file, got a soft"
    ),
    "circle": (lambda f: (f.__delitem__("val"), f.__setitem__("val", f["/"])), "val/features': dataset not found"),
    "no_group": (lambda f: f.__delitem__("val"), "dataset 'val/features': dataset not found"),
    "group_for_a_dataset": (
        lambda f: (f.__delitem__("val/images"), f.create_group("val/images")), "expected groups and then a dataset"
    ),
    "long_captions": (
        lambda f: put(f, "val/captions", data=f["val/captions"][()].astype(np.int64) + (1 << 32)),
        "dataset 'val/captions': expected int32, got int64",
    ),
    "nan": (lambda f: f["train/features"].__setitem__((1, 1), np.nan), "train features: row 1: a number is not finite"),
    "a_word_twice": (lambda f: f["vocabulary"].__setitem__(5, b"a"), "vocabulary: duplicate word 'a'"),
    "a_word_that_is_no_text": (lambda f: f["vocabulary"].__setitem__(5, b"\xff"), r"vocabulary: '\\udcff': expec"),
    "meta_no_json": (lambda f: put(f, "meta", data=np.bytes_(b"{")), "meta: invalid JSON"),
    "meta_list": (lambda f: put(f, "meta", data=np.bytes_(b"[]")), r"meta: expected encoder, .*, got '\[\]'"),
    "no_encoder": (lambda f: put_meta(f, encoder=None), "meta: expected encoder, splits and about"),
    "about_text": (lambda f: put_meta(f, about="x"), "meta: expected encoder, splits and about"),
    "digests_list": (lambda f: put_meta(f, digests=[]), r"meta: expected digests as texts, got \[\]"),
    "digests_numbers": (lambda f: put_meta(f, digests={"val/features": 1}), "meta: expected digests as texts, got {"),
    "splits_text": (lambda f: put_meta(f, splits="train"), "meta: expected encoder, splits and about"),
    "no_splits": (lambda f: put_meta(f, splits=[]), "meta: expected 1 to 64 splits, got 0"),
    "split_of_numbers": (lambda f: put_meta(f, splits=[1]), "meta: expected a split name such as train, got 1;"),
    "split_absent": (lambda f: put_meta(f, splits=[".."]), "dataset '../features': dataset not found"),
    "splits_twice": (lambda f: put_meta(f, splits=["val", "val"]), "meta: expected distinct split names, got val, val"),
}  # fmt: skip


def test_an_unmodified_resealed_file_is_valid(whole: bytes, tmp_path: Path) -> None:
    with resealed(tmp_path / "a.h5", whole):
        pass
    assert_same(prepared(tmp_path / "a.h5"), WHOLE)


@pytest.mark.parametrize("name", ["meta", "vocabulary", *(f"val/{name}" for name in ARRAYS)])
def test_every_array_must_be_in_the_file(name: str, whole: bytes, tmp_path: Path) -> None:
    """Arrays are opened by `storage.hdf5.open_dataset`, whose tests have all other kinds of data."""
    with resealed(tmp_path / "a.h5", whole) as file:
        file.move(name, "elsewhere")
        file[name] = h5py.SoftLink("/elsewhere")
    assert refusal(tmp_path / "a.h5").startswith(f"dataset '{name}': expected data in this file, got a soft or ext")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_rejected(name: str, whole: bytes, tmp_path: Path) -> None:
    change, message = HOSTILE[name]
    path = tmp_path / "a.h5"
    with resealed(path, whole) as file:
        change(file)
    assert re.search(message, refusal(path))


def test_sealed_content_must_be_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    for payload in (b"", b"text", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(1000)):
        path.write_bytes(DATA_SET_SEAL.of(len(payload), hashlib.sha256(payload).hexdigest()) + payload)
        assert refusal(path)


def test_texts_beyond_the_limit_are_not_read(whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(whole)
    monkeypatch.setattr(MODULE, "TEXT_LIMIT", 10)
    assert refusal(path).startswith("dataset 'meta': expected at most 10 bytes, got ")
