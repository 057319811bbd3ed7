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
from sealed_sets import MODULE, VOCAB, WHOLE, assert_same, refusal

from captioner.data.corpus import Corpus
from captioner.data.prepared import SEAL, prepared
from captioner.errors import DataError
from captioner.storage.sealed import SIZE

# --- damage


MUTATIONS: dict[str, Callable[[bytearray, int, np.random.Generator], None]] = {
    "bit": lambda b, at, rng: b.__setitem__(at, b[at] ^ 1 << int(rng.integers(8))),
    "cut": lambda b, at, rng: b.__delitem__(slice(at, None)),
    "hole": lambda b, at, rng: b.__setitem__(slice(at, at + 512), bytes(len(b[at : at + 512]))),
    "more": lambda b, at, rng: b.__setitem__(slice(at, at), rng.bytes(int(rng.integers(1, 512)))),
    "lost": lambda b, at, rng: b.__delitem__(slice(at, at + int(rng.integers(1, 512)))),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_all_damage_is_detected(mutation: str, whole: bytes, tmp_path: Path) -> None:
    path, rng = tmp_path / "a.h5", np.random.default_rng(list(MUTATIONS).index(mutation))
    for trial in range(40):
        damaged = bytearray(whole)
        MUTATIONS[mutation](damaged, int(rng.integers(110 if trial % 4 == 0 else len(whole))), rng)
        if damaged != whole:
            path.write_bytes(damaged)
            refusal(path)


def test_every_byte_of_the_seal_is_verified(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    for at in range(SIZE):
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
    image = path.read_bytes()[SIZE:]
    path.write_bytes(SEAL.of(len(image), hashlib.sha256(image).hexdigest()) + image)


def put(file: h5py.File, name: str, **how: Any) -> None:
    if name in file:
        del file[name]
    file.create_dataset(name, **how)


def put_meta(file: h5py.File, **changes: Any) -> None:
    meta = {**json.loads(file["meta"][()]), **changes}
    put(file, "meta", data=np.bytes_(json.dumps(meta).encode()))


def virtual(file: h5py.File) -> None:
    del file["train/features"]
    layout = h5py.VirtualLayout((3, 3), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (3, 3))
    file.create_virtual_dataset("train/features", layout)


def in_captions(file: h5py.File, value: int) -> None:
    file["train/captions"][0, 1] = value


IN_FILE = r"dataset '(\w+/)?\w+': expected data in this file, got "
HOSTILE: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "soft_link": (lambda f: (f.move("val", "x"), f.__setitem__("val", h5py.SoftLink("/x"))), IN_FILE + "a soft"),
    "external_link": (
        lambda f: (f.__delitem__("val"), f.__setitem__("val", h5py.ExternalLink("/etc/x.h5", "/x"))), IN_FILE + "a soft"
    ),
    "linked_vocabulary": (
        lambda f: (f.__delitem__("vocabulary"), f.__setitem__("vocabulary", h5py.SoftLink("/train/texts"))),
        IN_FILE + "a soft",
    ),
    "circle": (lambda f: (f.__delitem__("val"), f.__setitem__("val", f["/"])), "val/features': dataset not found"),
    "virtual": (virtual, IN_FILE + "virtual storage"),
    "external_storage": (
        lambda f: put(f, "train/features", shape=(3, 3), dtype="f4", external=[("/etc/passwd", 0, 36)]),
        IN_FILE + "external storage",
    ),
    "external_texts": (
        lambda f: put(f, "train/texts", shape=(4,), dtype="S9", external=[("/etc/passwd", 0, 36)]),
        IN_FILE + "external storage",
    ),
    "variable_length": (
        lambda f: put(f, "train/texts", data=["a"] * 4, dtype=h5py.string_dtype()),
        r"dataset 'train/texts': expected fixed-length strings \(rows,\), got other data",
    ),
    "variable_meta": (
        lambda f: put(f, "meta", data="{}", dtype=h5py.string_dtype()), "dataset 'meta': expected fixed-length strings"
    ),
    "huge_features": (
        lambda f: put(f, "train/features", shape=(1 << 40, 1 << 20), dtype="f4"), "dataset 'train/features': expected"
    ),
    "huge_chunks": (
        lambda f: put(f, "train/features", shape=(1 << 30, 1 << 20), dtype="f4", chunks=(16, 16)), "dataset 'train/feat"
    ),
    "huge_texts": (
        lambda f: put(f, "train/texts", shape=(1 << 40,), dtype="S100"), "dataset 'train/texts': expected"
    ),
    "never_written": (
        lambda f: put(f, "train/features", shape=(3, 3), dtype="f4"), "expected 36 bytes of numbers, got 0"
    ),
    "no_group": (lambda f: f.__delitem__("val"), "dataset 'val/features': dataset not found"),
    "no_texts": (lambda f: f.__delitem__("val/texts"), "dataset 'val/texts': dataset not found"),
    "no_vocabulary": (lambda f: f.__delitem__("vocabulary"), "dataset 'vocabulary': dataset not found"),
    "no_meta": (lambda f: f.__delitem__("meta"), "dataset 'meta': dataset not found"),
    "group_for_a_dataset": (
        lambda f: (f.__delitem__("val/images"), f.create_group("val/images")), "expected groups and then a dataset"
    ),
    "integers_for_features": (lambda f: put(f, "val/features", data=np.ones((2, 3), int)), "expected floats"),
    "features_of_another_rank": (lambda f: put(f, "val/features", data=np.ones((2, 3, 1))), "expected floats"),
    "another_width": (lambda f: put(f, "val/features", data=np.ones((2, 4))), "expected one feature dimension"),
    "floats_for_captions": (lambda f: put(f, "val/captions", data=np.ones((2, 4))), "expected integers"),
    "long_captions": (
        lambda f: put(f, "val/captions", data=f["val/captions"][()].astype(np.int64) + (1 << 32)),
        "dataset 'val/captions': expected int32, got int64",
    ),
    "numbers_for_texts": (lambda f: put(f, "val/texts", data=np.ones(2)), "expected fixed-length strings"),
    "texts_in_a_square": (lambda f: put(f, "val/texts", data=np.full((2, 2), b"a")), "expected fixed-length strings"),
    "empty": (lambda f: put(f, "val/features", data=h5py.Empty("f4")), "which is empty"),
    "empty_meta": (lambda f: put(f, "meta", data=h5py.Empty("S4")), "which is empty"),
    "no_rows": (lambda f: put(f, "val/image_idxs", data=np.ones(0, np.int32)), "which is empty"),
    "a_text_too_few": (lambda f: put(f, "val/texts", data=np.array([b"a"])), "val texts: expected 2, one per caption"),
    "a_name_too_few": (lambda f: put(f, "val/images", data=np.array([b"a"])), "val image ids: expected 2, one per row"),
    "nan": (lambda f: f["train/features"].__setitem__((1, 1), np.nan), "train features: row 1: a number is not finite"),
    "infinity": (lambda f: f["val/features"].__setitem__((0, 2), -np.inf), "val features: row 0: a number is not"),
    "an_id_too_large": (lambda f: in_captions(f, 7), "train captions: row 0: an id outside 0..6"),
    "an_id_below_zero": (lambda f: in_captions(f, -1), "train captions: row 0: an id outside 0..6"),
    "an_id_of_a_billion": (lambda f: in_captions(f, 1 << 30), "train captions: row 0: an id outside 0..6"),
    "two_starts": (lambda f: in_captions(f, VOCAB.start), "train captions: row 0: has a second <START>"),
    "an_image_too_large": (lambda f: f["val/image_idxs"].__setitem__(1, 2), "val image_idxs: row 1: expected 0..1"),
    "a_word_twice": (lambda f: f["vocabulary"].__setitem__(5, b"a"), "vocabulary: duplicate word 'a'"),
    "a_word_with_a_line_end": (lambda f: f["vocabulary"].__setitem__(5, b"a\nb"), r"vocabulary: 'a\\nb': expected pr"),
    "a_word_that_is_no_text": (lambda f: f["vocabulary"].__setitem__(5, b"\xff"), r"vocabulary: '\\udcff': expec"),
    "no_special_token": (lambda f: f["vocabulary"].__setitem__(2, b"end"), "vocabulary: <END> is missing"),
    "meta_no_json": (lambda f: put(f, "meta", data=np.bytes_(b"{")), "meta: invalid JSON"),
    "meta_deep": (lambda f: put(f, "meta", data=np.bytes_(b"[" * 100_000)), "meta: invalid JSON"),
    "meta_no_text": (lambda f: put(f, "meta", data=np.bytes_(b"\xff\xfe")), "meta: invalid JSON"),
    "meta_of_digits": (lambda f: put(f, "meta", data=np.bytes_(b"1" * 5000)), "meta: invalid JSON"),
    "meta_list": (lambda f: put(f, "meta", data=np.bytes_(b"[]")), r"meta: expected encoder, .*, got '\[\]'"),
    "meta_of_lines": (lambda f: put(f, "meta", data=np.bytes_(b"{\n}")), "meta: expected encoder, splits and about"),
    "no_encoder": (lambda f: put_meta(f, encoder=None), "meta: expected encoder, splits and about"),
    "about_text": (lambda f: put_meta(f, about="x"), "meta: expected encoder, splits and about"),
    "splits_text": (lambda f: put_meta(f, splits="train"), "meta: expected encoder, splits and about"),
    "no_splits": (lambda f: put_meta(f, splits=[]), "meta: expected 1 to 64 splits, got 0"),
    "many_splits": (lambda f: put_meta(f, splits=[*map(str, range(1000))]), "meta: expected 1 to 64 splits, got 1,000"),
    "split_of_numbers": (lambda f: put_meta(f, splits=[1]), "meta: expected a split name such as train, got 1;"),
    "split_above": (lambda f: put_meta(f, splits=["../x"]), "meta: expected a split name such as train, got '../x';"),
    "split_here": (lambda f: put_meta(f, splits=["."]), "meta: expected a split name such as train, got '.';"),
    "split_absent": (lambda f: put_meta(f, splits=[".."]), "dataset '../features': dataset not found"),
    "split_without_a_name": (lambda f: put_meta(f, splits=[""]), "meta: expected a split name .*got '';"),
    "split_of_two_lines": (lambda f: put_meta(f, splits=["a\nb"]), r"meta: expected a split name .*got 'a\\nb';"),
    "split_surrogate": (lambda f: put_meta(f, splits=["\udc00"]), "meta: expected a split name"),
    "splits_twice": (lambda f: put_meta(f, splits=["val", "val"]), "meta: expected distinct split names, got val, val"),
}  # fmt: skip


def test_an_unmodified_resealed_file_is_valid(whole: bytes, tmp_path: Path) -> None:
    with resealed(tmp_path / "a.h5", whole):
        pass
    assert_same(prepared(tmp_path / "a.h5"), WHOLE)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_rejected(name: str, whole: bytes, tmp_path: Path) -> None:
    change, message = HOSTILE[name]
    path = tmp_path / "a.h5"
    with resealed(path, whole) as file:
        change(file)
    assert re.search(message, refusal(path))


def test_damage_under_a_valid_seal_is_a_one_line_error_or_another_corpus(whole: bytes, tmp_path: Path) -> None:
    path, rng, outcomes = tmp_path / "a.h5", np.random.default_rng(0), {True: 0, False: 0}
    for _ in range(150):
        image = bytearray(whole[SIZE:])
        image[rng.integers(len(image))] ^= int(rng.integers(1, 256))
        path.write_bytes(SEAL.of(len(image), hashlib.sha256(image).hexdigest()) + image)
        try:
            outcomes[isinstance(prepared(path), Corpus)] += 1
        except DataError as problem:
            outcomes["\n" in str(problem)] += 1
    assert outcomes[True] > 0
    assert outcomes[False] > 0


def test_sealed_content_must_be_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    for image in (b"", b"text", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(1000)):
        path.write_bytes(SEAL.of(len(image), hashlib.sha256(image).hexdigest()) + image)
        assert refusal(path)


def test_texts_beyond_the_limit_are_not_read(whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(whole)
    monkeypatch.setattr(MODULE, "TEXT_LIMIT", 10)
    assert refusal(path).startswith("dataset 'meta': expected at most 10 bytes, got ")
