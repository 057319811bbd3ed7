"""Prepared data sets: what is written is read, what cannot be is not written, and what is no data set is refused.

`tests/files/test_saved.py` damages saved files of all kinds.
"""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prepared_sets import ABOUT, WHOLE, assert_same, corpus_of, refusal, split_of

from captioner.data.corpus import Corpus, Split, validate
from captioner.data.prepared import RESERVED, prepared, write_prepared
from captioner.data.vocabulary import SPECIAL, Vocab
from captioner.errors import DataError
from captioner.files.hdf5 import StoredArray
from captioner.files.saved import DATA_SET, SIZE

module = import_module("captioner.data.prepared")  # in its package the name is the function's

# --- what is written is read


def texts(longest: int, **kinds: Any) -> st.SearchStrategy[str]:
    """Any Unicode text, but that one cannot end with NULs, by which HDF5 fills up."""
    return st.text(st.characters(exclude_categories=("Cs",), **kinds), max_size=longest).map(lambda t: t.rstrip("\0"))


NAMES = (
    st.sampled_from(["train", "val", "test", "..", "-", "a b", "é", "features", "0"])
    | texts(6).filter(lambda name: name.isprintable() and "/" not in name and name not in ("", *RESERVED))
)  # fmt: skip


@st.composite
def corpora(draw: st.DrawFn) -> Corpus:
    printable = texts(8).filter(str.isprintable).filter(lambda text: text.split() == [text])
    words = draw(st.lists(printable, max_size=5, unique=True))
    vocab = Vocab((*SPECIAL, *(word for word in words if word not in SPECIAL)))
    dtype, width = draw(st.sampled_from(["f2", "f4", "f8"])), draw(st.integers(1, 4))
    splits = {}
    for name in draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)):
        images = draw(st.integers(1, 4))
        written = draw(
            st.lists(st.lists(st.sampled_from(vocab.words[4:] or ("x",)), max_size=4), min_size=1, max_size=5)
        )
        captions = vocab.encode([["x"], *written])
        rows = st.lists(st.integers(0, images - 1), min_size=len(captions), max_size=len(captions))
        splits[name] = Split(
            captions=captions,
            image_idxs=np.array(draw(rows), np.int32),
            features=np.random.default_rng(images).standard_normal((images, width)).astype(dtype),
            image_ids=draw(st.lists(texts(9), min_size=images, max_size=images)),
            texts=draw(st.lists(texts(9), min_size=len(captions), max_size=len(captions))),
            sources=draw(st.none() | st.lists(texts(9), min_size=images, max_size=images)),
        )
    return validate(Corpus(vocab, splits, draw(texts(9))), "drawn")


@given(corpus=corpora(), memory_mib=st.sampled_from([0, 1]))
def test_a_written_corpus_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, corpus: Corpus, memory_mib: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.h5"
    write_prepared(path, corpus, ABOUT)
    read = prepared(path, memory_mib=memory_mib)
    assert_same(read, corpus)
    kinds = {type(split.features) for split in read.splits.values()}
    assert kinds == {StoredArray if memory_mib == 0 else np.ndarray}


def test_the_digest_of_the_content_is_stored_and_equals_a_computed_one(tmp_path: Path) -> None:
    """Other sources have none: it is computed from the rows."""
    write_prepared(tmp_path / "a.h5", WHOLE, ABOUT)
    read = prepared(tmp_path / "a.h5", memory_mib=0)
    assert all(len(split.digests["features"]) == 64 for split in read.splits.values())
    assert read.digest == WHOLE.digest
    without = {name: dataclasses.replace(split, digests={}) for name, split in read.splits.items()}
    assert dataclasses.replace(read, splits=without).digest == WHOLE.digest
    sources = {name: dataclasses.replace(split, sources=["b"] * 3) for name, split in read.splits.items()}
    with_sources = dataclasses.replace(read, splits=sources)
    assert (with_sources.digest, with_sources.train_digest) == (WHOLE.digest, WHOLE.train_digest)


def test_captions_without_raw_text_are_written_as_words(tmp_path: Path) -> None:
    bare = corpus_of(train=split_of(1, [["a", "café"], ["unknown", "猫"]], texts=None))
    write_prepared(tmp_path / "a.h5", bare, {})
    assert prepared(tmp_path / "a.h5").split("train").texts == ["a café", "<UNK> 猫"]


def test_the_memory_budget_is_shared_by_all_splits(tmp_path: Path) -> None:
    half = np.ones((1024, 256), np.float32)  # 1 MiB
    ids = [str(row) for row in range(len(half))]
    splits = {name: split_of(1, [["a"]], features=half, image_ids=ids) for name in ("train", "val", "test")}
    write_prepared(tmp_path / "a.h5", corpus_of(**splits), {})
    read = prepared(tmp_path / "a.h5", memory_mib=2)
    assert [type(split.features) for split in read.splits.values()] == [np.ndarray, np.ndarray, StoredArray]


# --- writing


def failure(path: Path, corpus: Corpus) -> str:
    with pytest.raises(DataError) as caught:
        write_prepared(path, corpus, ABOUT)
    assert not os.listdir(path.parent)
    return str(caught.value)


SPLIT = split_of(1, [["a"]])
NO_NAMES = ("", ".", "../x", "meta", "a\nb", "\udc00")


@pytest.mark.parametrize("name", NO_NAMES)
def test_invalid_split_names_are_not_written(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    message = failure(path, corpus_of(train=SPLIT, **{name: SPLIT}))
    assert message == f"{path}: expected a split name such as train, got {name!r}; rename it"


# --- files with a valid header that are no data sets


def put(file: h5py.File, name: str, **how: Any) -> None:
    if name in file:
        del file[name]
    file.create_dataset(name, **how)


def put_meta(file: h5py.File, **changes: Any) -> None:
    meta = {**json.loads(file["meta"][()]), **changes}
    put(file, "meta", data=np.bytes_(json.dumps(meta).encode()))


META = "meta: expected encoder, splits, about, photo_side and digests, got {"
HOSTILE: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "long_captions": (
        lambda f: put(f, "val/captions", data=f["val/captions"][()].astype(np.int64) + (1 << 32)),
        "array val/captions: expected int32, got int64",
    ),
    "nan": (lambda f: f["train/features"].__setitem__((1, 1), np.nan), "train features: row 1: a number is not finite"),
    "a_word_twice": (lambda f: f["vocabulary"].__setitem__(5, b"a"), "vocabulary: duplicate word 'a'"),
    "a_word_that_is_no_text": (lambda f: f["vocabulary"].__setitem__(5, b"\xff"), r"word 5: expected a printable word"),
    "no_encoder": (lambda f: put_meta(f, encoder=None), META),
    "digests_numbers": (lambda f: put_meta(f, digests={"val/features": 1}), META),
    "no_splits": (lambda f: put_meta(f, splits=[]), "meta: expected 1 to 64 splits, got 0"),
    "split_of_numbers": (lambda f: put_meta(f, splits=[1]), "meta: expected a split name such as train, got 1;"),
    "splits_twice": (lambda f: put_meta(f, splits=["val", "val"]), "meta: expected distinct split names, got val, val"),
    "split_absent": (lambda f: put_meta(f, splits=[".."]), "array ../features: not found"),
}  # fmt: skip


def changed(path: Path, whole: bytes, change: Callable[[h5py.File], object]) -> Path:
    """Write a changed file with the header of a hostile writer, which matches its content."""
    path.write_bytes(whole)
    with h5py.File(path, "r+", libver="latest") as file:
        change(file)
    content = path.read_bytes()[SIZE:]
    path.write_bytes(DATA_SET.header(len(content), hashlib.sha256(content).hexdigest()) + content)
    return path


ARRAYS = ("captions", "image_idxs", "features", "images", "texts")


@pytest.mark.parametrize("name", ["vocabulary", *(f"val/{name}" for name in ARRAYS)])
def test_every_array_must_be_in_the_file(name: str, whole: bytes, tmp_path: Path) -> None:
    path = changed(tmp_path / "a.h5", whole, lambda file: file.move(name, "elsewhere"))
    assert refusal(path) == f"array {name}: not found"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(name: str, whole: bytes, tmp_path: Path) -> None:
    change, message = HOSTILE[name]
    path = changed(tmp_path / "a.h5", whole, change)
    assert re.search(message, refusal(path)), refusal(path)
