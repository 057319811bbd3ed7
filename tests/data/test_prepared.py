"""Prepared data sets: what is written is read, and what cannot be is not written."""

import contextlib
import dataclasses
import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sealed_sets import ABOUT, MODULE, RNG, VOCAB, WHOLE, assert_same, corpus_of, split_of

from captioner.data import corpus as blocks_module
from captioner.data.corpus import Corpus, Split, validate
from captioner.data.features import ContiguousFeatures, SelectedFeatures, open_features
from captioner.data.prepared import MAX_SPLITS, prepared, write_prepared
from captioner.data.vocabulary import SPECIAL, Vocab
from captioner.errors import DataError
from captioner.storage.hdf5 import DeferredErrorFile
from captioner.storage.sealed import SIZE

# --- what is written is read


def texts(longest: int, **kinds: Any) -> st.SearchStrategy[str]:
    """Any Unicode text, but that one cannot end with NULs, by which HDF5 fills up."""
    return st.text(st.characters(exclude_categories=("Cs",), **kinds), max_size=longest).map(lambda t: t.rstrip("\0"))


NAMES = (
    st.sampled_from(["train", "val", "test", "..", "-", "a b", "é", "features", "0"])
    | texts(6).filter(lambda name: name.isprintable() and "/" not in name and name not in ("", *MODULE.RESERVED))
)  # fmt: skip


@st.composite
def corpora(draw: st.DrawFn) -> Corpus:
    words = draw(st.lists(texts(8).filter(str.isprintable), max_size=5, unique=True))
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
        )
    return validate(Corpus(vocab, splits, draw(texts(9))), "drawn")


@settings(max_examples=60, deadline=None)
@given(corpus=corpora(), memory_mib=st.sampled_from([0, 1]))
def test_a_written_corpus_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, corpus: Corpus, memory_mib: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.h5"
    write_prepared(path, corpus, ABOUT)
    read = prepared(path, memory_mib=memory_mib)
    assert_same(read, corpus)
    kinds = {type(split.features) for split in read.splits.values()}
    assert kinds == {ContiguousFeatures if memory_mib == 0 else np.ndarray}


def test_a_file_contains_its_metadata(tmp_path: Path) -> None:
    write_prepared(tmp_path / "a.h5", WHOLE, ABOUT)
    assert prepared(tmp_path / "a.h5").about == ABOUT
    assert os.listdir(tmp_path) == ["a.h5"]


def test_the_digest_of_the_content_is_stored_and_equals_a_computed_one(tmp_path: Path) -> None:
    """Other sources have none: it is computed from the rows."""
    write_prepared(tmp_path / "a.h5", WHOLE, ABOUT)
    read = prepared(tmp_path / "a.h5", memory_mib=0)
    assert all(len(split.digests["features"]) == 64 for split in read.splits.values())
    assert read.digest == WHOLE.digest
    without = {name: dataclasses.replace(split, digests={}) for name, split in read.splits.items()}
    assert dataclasses.replace(read, splits=without).digest == WHOLE.digest


def test_equal_corpora_give_equal_bytes(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(whole)
    write_prepared(tmp_path / "again.h5", prepared(tmp_path / "a.h5"), ABOUT)
    assert (tmp_path / "again.h5").read_bytes() == whole


def test_arrays_are_readable_by_any_hdf5_reader(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(whole)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.userblock_size == SIZE
        assert [word.decode() for word in file["vocabulary"]] == list(VOCAB.words)
        np.testing.assert_array_equal(file["val/features"], WHOLE.split("val").features)
        assert file["train/texts"][1].decode() == "猫"
        kinds: dict[str, str] = {}
        file.visititems(lambda name, item: kinds.update({name: item.dtype.kind} if hasattr(item, "dtype") else {}))
    assert set(kinds.values()) == {"f", "i", "S"}


def test_captions_without_raw_text_are_written_as_words(tmp_path: Path) -> None:
    bare = corpus_of(train=split_of(1, [["a", "café"], ["unknown", "猫"]], texts=None))
    write_prepared(tmp_path / "a.h5", bare, {})
    assert prepared(tmp_path / "a.h5").split("train").texts == ["a café", "<UNK> 猫"]


@pytest.mark.parametrize("dtype", ["f2", "f4"])
def test_rows_of_another_file_are_written_block_by_block(
    dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks_module, "BLOCK_VALUES", 2048)
    values = RNG.standard_normal((2 * 1024 + 3, 2)).astype(np.float32)
    with h5py.File(tmp_path / "given.h5", "w") as file:
        file["features"] = values
    order = RNG.permutation(len(values))
    selected = SelectedFeatures(open_features(tmp_path / "given.h5", memory_mib=0), order, np.dtype(dtype))
    ids = [str(row) for row in order]
    write_prepared(tmp_path / "a.h5", corpus_of(train=split_of(1, [["a"]], features=selected, image_ids=ids)), {})
    train = prepared(tmp_path / "a.h5", memory_mib=0).split("train")
    assert train.features.dtype == dtype
    np.testing.assert_array_equal(train.features[:], values[order].astype(dtype))
    np.testing.assert_array_equal(train.features[[5, 2000, 5]], values[order].astype(dtype)[[5, 2000, 5]])


def test_a_file_replaced_after_verification_is_not_read(
    whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, opened = tmp_path / "a.h5", []
    path.write_bytes(whole)
    write_prepared(tmp_path / "other.h5", corpus_of(train=split_of(3, [["a"]]), val=split_of(1, [["a"]])), {})
    open_dataset = MODULE.open_dataset

    def swapped(*args: Any, **options: Any) -> Any:
        opened.append(args)
        (tmp_path / "other.h5").replace(path) if len(opened) == 1 else None
        return open_dataset(*args, **options)

    monkeypatch.setattr(MODULE, "open_dataset", swapped)
    with contextlib.suppress(DataError):  # HDF5 opens no file that has lost its name
        assert_same(prepared(path, memory_mib=0), WHOLE)
    assert len(opened) > 0
    assert path.read_bytes() != whole


def test_the_memory_budget_is_shared_by_all_splits(tmp_path: Path) -> None:
    half = np.ones((1024, 256), np.float32)  # 1 MiB
    ids = [str(row) for row in range(len(half))]
    splits = {name: split_of(1, [["a"]], features=half, image_ids=ids) for name in ("train", "val", "test")}
    write_prepared(tmp_path / "a.h5", corpus_of(**splits), {})
    read = prepared(tmp_path / "a.h5", memory_mib=2)
    assert [type(split.features) for split in read.splits.values()] == [np.ndarray, np.ndarray, ContiguousFeatures]


def test_file_descriptors_are_closed_with_the_corpus(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(whole)
    before = len(os.listdir("/dev/fd"))
    corpus = prepared(tmp_path / "a.h5", memory_mib=0)
    assert len(os.listdir("/dev/fd")) > before
    del corpus
    assert len(os.listdir("/dev/fd")) == before


# --- writing


def failure(path: Path, corpus: Corpus) -> str:
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(DataError) as caught:
        write_prepared(path, corpus, ABOUT)
    assert str(caught.value).isprintable()
    assert (path.read_bytes() if path.exists() else None) == before
    assert [name for name in os.listdir(path.parent) if name.endswith(".tmp")] == []
    return str(caught.value)


@pytest.mark.parametrize("most", [0, 600, 5_000, 40_000, 200_000])
def test_a_full_disk_keeps_the_old_file(
    most: int, whole: bytes, tmp_path: Path, files_of_at_most: Callable[[int], Any]
) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(whole)
    larger = corpus_of(train=split_of(100, [["a"]], width=1000))
    with files_of_at_most(most):
        assert re.fullmatch(
            rf"{path}: cannot write the data set: [^/]*File too large[^/]*; the previous one is kept",
            failure(path, larger),
        ), failure(path, larger)
    write_prepared(path, larger, ABOUT)  # nothing of the failure is left in the HDF5 library
    assert_same(prepared(path), larger)


def test_a_partial_write_is_an_error(tmp_path: Path, files_of_at_most: Callable[[int], Any]) -> None:
    def write() -> None:
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


def test_unreadable_features_keep_the_old_file(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(whole)
    large = SelectedFeatures(np.array([[1e9, 1, 1]]), np.array([0]), np.dtype(np.float16))
    message = failure(path, corpus_of(train=split_of(1, [["a"]], features=large)))
    assert message == "features: expected values in the range of float16, got 1e+09; try float32"


SPLIT = split_of(1, [["a"]])
NO_NAMES = ("", ".", "a/b", "../x", "/", "meta", "vocabulary", "a\nb", "\udc00")


@pytest.mark.parametrize("name", NO_NAMES)
def test_invalid_split_names_are_not_written(name: str, whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(whole)
    message = failure(path, corpus_of(train=SPLIT, **{name: SPLIT}))
    assert message == f"{path}: expected a split name such as train, got {name!r}; rename it"


def test_the_number_of_splits_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    names = [f"s{number}" for number in range(MAX_SPLITS + 1)]
    message = failure(path, corpus_of(**dict.fromkeys(names, SPLIT)))
    assert message == f"{path}: expected 1 to 64 splits, got 65; check the split column"
    write_prepared(path, corpus_of(**dict.fromkeys(names[1:], SPLIT)), ABOUT)
    assert list(prepared(path).splits) == names[1:]


def test_texts_beyond_the_size_limit_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "TEXT_LIMIT", 500)
    texts = ["short", "long " * 60]
    message = failure(tmp_path / "a.h5", corpus_of(train=split_of(1, [["a"], ["a"]], texts=texts)))
    assert message.startswith(f"{tmp_path / 'a.h5'}: train texts: expected at most 500 bytes, got 600, since each is")


# --- reading back


def storing(name: str, change: Callable[[np.ndarray], np.ndarray | None]) -> Callable[[io.FileIO], None]:
    """A damage that stores another array than the one written, or none."""

    def damage(file: io.FileIO) -> None:
        with h5py.File(file.name, "r+") as stored:
            changed = change(stored[name][()])
            del stored[name]
            if changed is not None:
                stored[name] = changed

    return damage


def one_more(array: np.ndarray) -> np.ndarray:
    array.flat[-1] += 1
    return array


def cut(file: io.FileIO) -> None:
    file.truncate(file.seek(0, os.SEEK_END) - 100)


def flip(file: io.FileIO) -> None:
    content = WHOLE.split("val").features[:].tobytes()
    file.seek(0)
    at = file.readall().index(content)
    file.seek(at)
    file.write(bytes([content[0] ^ 1]))


def clear(file: io.FileIO) -> None:
    file.truncate(SIZE)


DAMAGE: dict[str, tuple[Callable[[io.FileIO], None], str]] = {
    "no texts": (storing("train/texts", lambda array: None), "dataset 'train/texts': dataset not found"),
    "another type": (
        storing("train/captions", lambda array: array.astype("i8")), "dataset 'train/captions': expected int32 "
    ),
    "another shape": (storing("train/features", lambda array: array[:, 1:]), "dataset 'train/features': expected "),
    "another caption": (storing("train/captions", one_more), "dataset 'train/captions': content differs"),
    "another feature": (storing("val/features", one_more), "dataset 'val/features': content differs"),
    "another meta": (storing("meta", lambda array: np.char.upper(array)), "dataset 'meta': content differs"),
    "a cut": (cut, ""),
    "a flipped bit": (flip, "dataset 'val/features': content differs"),
    "no content": (clear, ""),
}  # fmt: skip


@pytest.mark.parametrize("when", ["before it is sealed", "after"])
@pytest.mark.parametrize("name", DAMAGE)
def test_a_file_that_reads_back_otherwise_never_replaces_the_one_before(
    name: str, when: str, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real, (damage, difference) = tmp_path / "a.h5", MODULE._seal, DAMAGE[name]
    path.write_bytes(whole)

    def seal(file: io.FileIO) -> None:
        for step in (damage, real) if when != "after" else (real, damage):
            step(file)

    monkeypatch.setattr(MODULE, "_seal", seal)
    message = failure(path, WHOLE)
    start = f"{path}: the new data set does not read back as written: "
    assert message.startswith(start + (difference if when != "after" else "damaged: "))
    assert f"; the previous data set is kept; try another version of h5py (this is {h5py.__version__})" in message
    assert ".tmp" not in message
