"""Prepared data sets: what is written is read; whatever else a file may hold is refused with one clear line."""

import contextlib
import dataclasses
import hashlib
import importlib
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
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.data.corpus import ROWS_AT_ONCE, Corpus, Split, validate
from captioner.data.features import Direct, Selected, open_features
from captioner.data.prepared import MOST_SPLITS, SEAL, prepared, write_prepared
from captioner.errors import DataError
from captioner.sealed import SIZE
from captioner.vocab import SPECIAL, Vocab

MODULE = importlib.import_module("captioner.data.prepared")  # in its package the name is the function's
VOCAB = Vocab((*SPECIAL, "a", "café", "猫"))
RNG = np.random.default_rng(0)
ABOUT = {"made_by": "a test", "counts": {"cut": 1}}


def split_of(images: int, captions: list[list[str]], dtype: str = "f4", width: int = 3, **changes: Any) -> Split:
    whole = Split(
        captions=VOCAB.encode(captions),
        image_idxs=(np.arange(len(captions)) % images).astype(np.int32),
        features=RNG.standard_normal((images, width)).astype(dtype),
        image_ids=[f"{row}.jpg" for row in range(images)],
        texts=[" ".join(words).title() for words in captions],
    )
    return dataclasses.replace(whole, **changes)


def corpus_of(**splits: Split) -> Corpus:
    return Corpus(VOCAB, splits, "drawn")


WHOLE = corpus_of(
    train=split_of(3, [["a", "café"], ["猫"], ["a", "a", "a"], []]), val=split_of(2, [["nobody", "knows"], ["a"]])
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "a.h5"
    write_prepared(path, WHOLE, ABOUT)
    return path.read_bytes()


def refusal(path: Path) -> str:
    """What `prepared` says of a file that it must refuse: one line that begins with its name."""
    with pytest.raises(DataError) as caught:
        prepared(path)
    message = str(caught.value)
    assert re.match(rf"{re.escape(str(path))}: (?!{re.escape(str(path))})", message)
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


def assert_same(one: Corpus, other: Corpus) -> None:
    assert (one.vocab, one.encoder, list(one.splits)) == (other.vocab, other.encoder, list(other.splits))
    assert one.fingerprint() == other.fingerprint()
    for name, split in one.splits.items():
        twin = other.splits[name]
        assert (list(split.image_ids), list(split.texts or ())) == (list(twin.image_ids), list(twin.texts or ()))
        assert (split.features.dtype, split.features.shape) == (twin.features.dtype, twin.features.shape)
        for key in ("captions", "image_idxs"):
            assert getattr(split, key).dtype == getattr(twin, key).dtype
            np.testing.assert_array_equal(getattr(split, key), getattr(twin, key))
        np.testing.assert_array_equal(split.features[:], twin.features[:])


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
def test_any_corpus_that_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, corpus: Corpus, memory_mib: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.h5"
    write_prepared(path, corpus, ABOUT)
    read = prepared(path, memory_mib=memory_mib)
    assert_same(read, corpus)
    kinds = {type(split.features) for split in read.splits.values()}
    assert kinds == {Direct if memory_mib == 0 else np.ndarray}


def test_a_file_tells_what_it_is(tmp_path: Path) -> None:
    write_prepared(tmp_path / "a.h5", WHOLE, ABOUT)
    assert prepared(tmp_path / "a.h5").about == ABOUT
    assert os.listdir(tmp_path) == ["a.h5"]


def test_equal_corpora_give_equal_bytes(whole: bytes, tmp_path: Path) -> None:
    write_prepared(tmp_path / "again.h5", prepared_from(whole, tmp_path), ABOUT)
    assert (tmp_path / "again.h5").read_bytes() == whole


def prepared_from(content: bytes, folder: Path) -> Corpus:
    (folder / "a.h5").write_bytes(content)
    return prepared(folder / "a.h5")


def test_any_hdf5_reader_finds_the_arrays_behind_the_seal(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(whole)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.userblock_size == SIZE
        assert [word.decode() for word in file["vocabulary"]] == list(VOCAB.words)
        np.testing.assert_array_equal(file["val/features"], WHOLE.split("val").features)
        assert file["train/texts"][1].decode() == "猫"
        kinds: dict[str, str] = {}
        file.visititems(lambda name, item: kinds.update({name: item.dtype.kind} if hasattr(item, "dtype") else {}))
    assert set(kinds.values()) == {"f", "i", "S"}


def test_captions_of_a_source_that_keeps_no_texts_are_written_as_words(tmp_path: Path) -> None:
    bare = corpus_of(train=split_of(1, [["a", "café"], ["unknown", "猫"]], texts=None))
    write_prepared(tmp_path / "a.h5", bare, {})
    assert prepared(tmp_path / "a.h5").split("train").texts == ["a café", "<UNK> 猫"]


@pytest.mark.parametrize("dtype", ["f2", "f4"])
def test_rows_of_another_file_are_written_block_by_block(dtype: str, tmp_path: Path) -> None:
    values = RNG.standard_normal((2 * ROWS_AT_ONCE + 3, 2)).astype(np.float32)
    with h5py.File(tmp_path / "given.h5", "w") as file:
        file["features"] = values
    order = RNG.permutation(len(values))
    selected = Selected(open_features(tmp_path / "given.h5", memory_mib=0), order, np.dtype(dtype))
    ids = [str(row) for row in order]
    write_prepared(tmp_path / "a.h5", corpus_of(train=split_of(1, [["a"]], features=selected, image_ids=ids)), {})
    train = prepared(tmp_path / "a.h5", memory_mib=0).split("train")
    assert train.features.dtype == dtype
    np.testing.assert_array_equal(train.features[:], values[order].astype(dtype))
    np.testing.assert_array_equal(train.features[[5, 2000, 5]], values[order].astype(dtype)[[5, 2000, 5]])


def test_a_file_that_takes_the_place_of_a_verified_one_is_not_read(
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


def test_the_memory_is_shared_by_all_splits(tmp_path: Path) -> None:
    half = np.ones((1024, 256), np.float32)  # 1 MiB
    ids = [str(row) for row in range(len(half))]
    splits = {name: split_of(1, [["a"]], features=half, image_ids=ids) for name in ("train", "val", "test")}
    write_prepared(tmp_path / "a.h5", corpus_of(**splits), {})
    read = prepared(tmp_path / "a.h5", memory_mib=2)
    assert [type(split.features) for split in read.splits.values()] == [np.ndarray, np.ndarray, Direct]


def test_no_descriptor_outlives_a_corpus(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(whole)
    before = len(os.listdir("/dev/fd"))
    corpus = prepared(tmp_path / "a.h5", memory_mib=0)
    assert len(os.listdir("/dev/fd")) > before
    del corpus
    assert len(os.listdir("/dev/fd")) == before


# --- damage


MUTATIONS: dict[str, Callable[[bytearray, int, np.random.Generator], None]] = {
    "bit": lambda b, at, rng: b.__setitem__(at, b[at] ^ 1 << int(rng.integers(8))),
    "cut": lambda b, at, rng: b.__delitem__(slice(at, None)),
    "hole": lambda b, at, rng: b.__setitem__(slice(at, at + 512), bytes(len(b[at : at + 512]))),
    "more": lambda b, at, rng: b.__setitem__(slice(at, at), rng.bytes(int(rng.integers(1, 512)))),
    "lost": lambda b, at, rng: b.__delitem__(slice(at, at + int(rng.integers(1, 512)))),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_no_damage_goes_unnoticed(mutation: str, whole: bytes, tmp_path: Path) -> None:
    path, rng = tmp_path / "a.h5", np.random.default_rng(list(MUTATIONS).index(mutation))
    for trial in range(40):
        damaged = bytearray(whole)
        MUTATIONS[mutation](damaged, int(rng.integers(110 if trial % 4 == 0 else len(whole))), rng)
        if damaged != whole:
            path.write_bytes(damaged)
            refusal(path)


def test_no_byte_of_the_seal_is_free(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    for at in range(SIZE):
        path.write_bytes(whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :])
        assert refusal(path), f"byte {at} may change"


def test_what_is_another_kind_of_file(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    assert refusal(path) == "cannot open the data set: No such file or directory"
    for content in (b"", b"image,caption\n", whole[SIZE:], whole.replace(b"data set", b"checkpoint", 1)):
        path.write_bytes(content)
        assert refusal(path) == "not a captioner data set; expected a file that `captioner prepare` wrote"
    path.unlink()
    os.mkfifo(path)
    assert refusal(path) == "expected a data set file, got a named pipe"
    path.unlink()
    path.mkdir()
    assert refusal(path) == "cannot open the data set: Is a directory"


def test_without_a_name_the_current_folder_is_no_file() -> None:
    with pytest.raises(DataError, match=r"^\.: cannot open the data set: Is a directory$"):
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
    "circle": (lambda f: (f.__delitem__("val"), f.__setitem__("val", f["/"])), "dataset 'val/features': no such"),
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
        r"dataset 'train/texts': expected texts of fixed length \(rows,\), got other data",
    ),
    "variable_meta": (
        lambda f: put(f, "meta", data="{}", dtype=h5py.string_dtype()), "dataset 'meta': expected texts of fixed"
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
    "no_group": (lambda f: f.__delitem__("val"), "dataset 'val/features': no such dataset"),
    "no_texts": (lambda f: f.__delitem__("val/texts"), "dataset 'val/texts': no such dataset"),
    "no_vocabulary": (lambda f: f.__delitem__("vocabulary"), "dataset 'vocabulary': no such dataset"),
    "no_meta": (lambda f: f.__delitem__("meta"), "dataset 'meta': no such dataset"),
    "group_for_a_dataset": (
        lambda f: (f.__delitem__("val/images"), f.create_group("val/images")), "expected groups and then a dataset"
    ),
    "integers_for_features": (lambda f: put(f, "val/features", data=np.ones((2, 3), int)), "expected floats"),
    "features_of_another_rank": (lambda f: put(f, "val/features", data=np.ones((2, 3, 1))), "expected floats"),
    "another_width": (lambda f: put(f, "val/features", data=np.ones((2, 4))), "the splits' features differ in width"),
    "floats_for_captions": (lambda f: put(f, "val/captions", data=np.ones((2, 4))), "expected integers"),
    "long_captions": (
        lambda f: put(f, "val/captions", data=f["val/captions"][()].astype(np.int64) + (1 << 32)),
        "dataset 'val/captions': expected int32, got int64",
    ),
    "numbers_for_texts": (lambda f: put(f, "val/texts", data=np.ones(2)), "expected texts of fixed length"),
    "texts_in_a_square": (lambda f: put(f, "val/texts", data=np.full((2, 2), b"a")), "expected texts of fixed length"),
    "empty": (lambda f: put(f, "val/features", data=h5py.Empty("f4")), "which is empty"),
    "empty_meta": (lambda f: put(f, "meta", data=h5py.Empty("S4")), "which is empty"),
    "no_rows": (lambda f: put(f, "val/image_idxs", data=np.ones(0, np.int32)), "which is empty"),
    "a_text_too_few": (lambda f: put(f, "val/texts", data=np.array([b"a"])), "val texts: expected 2, one a caption"),
    "a_name_too_few": (lambda f: put(f, "val/images", data=np.array([b"a"])), "val image ids: expected 2, one a row"),
    "nan": (lambda f: f["train/features"].__setitem__((1, 1), np.nan), "train features: row 1: a number is not finite"),
    "infinity": (lambda f: f["val/features"].__setitem__((0, 2), -np.inf), "val features: row 0: a number is not"),
    "an_id_too_large": (lambda f: in_captions(f, 7), "train captions: row 0: an id outside 0..6"),
    "an_id_below_zero": (lambda f: in_captions(f, -1), "train captions: row 0: an id outside 0..6"),
    "an_id_of_a_billion": (lambda f: in_captions(f, 1 << 30), "train captions: row 0: an id outside 0..6"),
    "two_starts": (lambda f: in_captions(f, VOCAB.start), "train captions: row 0: has a second <START>"),
    "an_image_too_large": (lambda f: f["val/image_idxs"].__setitem__(1, 2), "val image_idxs: row 1: expected 0..1"),
    "a_word_twice": (lambda f: f["vocabulary"].__setitem__(5, b"a"), "vocabulary: 'a' stands twice"),
    "a_word_with_a_line_end": (lambda f: f["vocabulary"].__setitem__(5, b"a\nb"), r"vocabulary: 'a\\nb': expected pr"),
    "a_word_that_is_no_text": (lambda f: f["vocabulary"].__setitem__(5, b"\xff"), r"vocabulary: '\\udcff': expec"),
    "no_special_token": (lambda f: f["vocabulary"].__setitem__(2, b"end"), "vocabulary: <END> is missing"),
    "meta_no_json": (lambda f: put(f, "meta", data=np.bytes_(b"{")), "meta: expected JSON, got something else"),
    "meta_deep": (lambda f: put(f, "meta", data=np.bytes_(b"[" * 100_000)), "meta: expected JSON, got something else"),
    "meta_no_text": (lambda f: put(f, "meta", data=np.bytes_(b"\xff\xfe")), "meta: expected JSON, got something"),
    "meta_of_digits": (lambda f: put(f, "meta", data=np.bytes_(b"1" * 5000)), "meta: expected JSON, got something"),
    "meta_list": (lambda f: put(f, "meta", data=np.bytes_(b"[]")), r"meta: expected encoder, .*, got '\[\]'"),
    "meta_of_lines": (lambda f: put(f, "meta", data=np.bytes_(b"{\n}")), "meta: expected encoder, splits and about"),
    "no_encoder": (lambda f: put_meta(f, encoder=None), "meta: expected encoder, splits and about"),
    "about_text": (lambda f: put_meta(f, about="x"), "meta: expected encoder, splits and about"),
    "splits_text": (lambda f: put_meta(f, splits="train"), "meta: expected encoder, splits and about"),
    "no_splits": (lambda f: put_meta(f, splits=[]), "meta: expected 1 to 64 splits, got 0"),
    "many_splits": (lambda f: put_meta(f, splits=[*map(str, range(1000))]), "meta: expected 1 to 64 splits, got 1,000"),
    "split_of_numbers": (lambda f: put_meta(f, splits=[1]), "meta: expected a split's name such as train, got 1;"),
    "split_above": (lambda f: put_meta(f, splits=["../x"]), "meta: expected a split's name such as train, got '../x';"),
    "split_here": (lambda f: put_meta(f, splits=["."]), "meta: expected a split's name such as train, got '.';"),
    "split_absent": (lambda f: put_meta(f, splits=[".."]), "dataset '../features': no such dataset"),
    "split_without_a_name": (lambda f: put_meta(f, splits=[""]), "meta: expected a split's name .*got '';"),
    "split_of_two_lines": (lambda f: put_meta(f, splits=["a\nb"]), r"meta: expected a split's name .*got 'a\\nb';"),
    "split_surrogate": (lambda f: put_meta(f, splits=["\udc00"]), "meta: expected a split's name"),
    "splits_twice": (lambda f: put_meta(f, splits=["val", "val"]), "meta: expected distinct splits, got val, val"),
}  # fmt: skip


def test_a_resealed_file_is_otherwise_whole(whole: bytes, tmp_path: Path) -> None:
    with resealed(tmp_path / "a.h5", whole):
        pass
    assert_same(prepared(tmp_path / "a.h5"), WHOLE)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(name: str, whole: bytes, tmp_path: Path) -> None:
    change, said = HOSTILE[name]
    path = tmp_path / "a.h5"
    with resealed(path, whole) as file:
        change(file)
    assert re.search(said, refusal(path))


def test_any_damage_below_a_seal_is_a_line_or_another_corpus(whole: bytes, tmp_path: Path) -> None:
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


def test_what_is_no_hdf5_behind_a_seal(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    for image in (b"", b"text", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(1000)):
        path.write_bytes(SEAL.of(len(image), hashlib.sha256(image).hexdigest()) + image)
        assert refusal(path)


def test_texts_beyond_the_limit_are_not_read(whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(whole)
    monkeypatch.setattr(MODULE, "TEXT_LIMIT", 10)
    assert refusal(path).startswith("dataset 'meta': expected at most 10 bytes, got ")


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
def test_a_full_disk_leaves_the_old_file(
    most: int, whole: bytes, tmp_path: Path, files_of_at_most: Callable[[int], Any]
) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(whole)
    larger = corpus_of(train=split_of(100, [["a"]], width=1000))
    with files_of_at_most(most):
        assert re.fullmatch(
            rf"{path}: cannot write the data set: [^/]*File too large[^/]*; an earlier one there is whole",
            failure(path, larger),
        ), failure(path, larger)
    write_prepared(path, larger, ABOUT)  # nothing of the failure is left in the HDF5 library
    assert_same(prepared(path), larger)


def test_what_is_written_in_part_alone_is_a_failure(tmp_path: Path, files_of_at_most: Callable[[int], Any]) -> None:
    def write() -> None:
        with MODULE._Unfailing(tmp_path / "a") as file:
            assert file.write(b"x" * 100) == 100
            assert file.write(b"y" * 100) == 100
            assert file.seek(0) == 0
            assert file.write(b"z") == 1

    with files_of_at_most(50), pytest.raises(OSError, match="File too large"):
        write()
    with files_of_at_most(200):
        write()
    assert (tmp_path / "a").read_bytes() == b"z" + b"x" * 99 + b"y" * 100


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "a.h5"
    with pytest.raises(DataError) as caught:
        write_prepared(path, WHOLE, ABOUT)
    assert re.fullmatch(rf"{path}: cannot write the data set: .*No such file or directory", str(caught.value))


def test_features_that_cannot_be_read_leave_the_old_file(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(whole)
    large = Selected(np.array([[1e9, 1, 1]]), np.array([0]), np.dtype(np.float16))
    said = failure(path, corpus_of(train=split_of(1, [["a"]], features=large)))
    assert said == "features: expected numbers that float16 can hold, got 1e+09; try float32"


SPLIT = split_of(1, [["a"]])
NO_NAMES = ("", ".", "a/b", "../x", "/", "meta", "vocabulary", "a\nb", "\udc00")


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_split_that_could_not_be_read_is_not_written(name: str, whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(whole)
    said = failure(path, corpus_of(train=SPLIT, **{name: SPLIT}))
    assert said == f"{path}: expected a split's name such as train, got {name!r}; name it otherwise"


def test_as_many_splits_are_written_as_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    names = [f"s{number}" for number in range(MOST_SPLITS + 1)]
    said = failure(path, corpus_of(**dict.fromkeys(names, SPLIT)))
    assert said == f"{path}: expected 1 to 64 splits, got 65; check the column of the split"
    write_prepared(path, corpus_of(**dict.fromkeys(names[1:], SPLIT)), ABOUT)
    assert list(prepared(path).splits) == names[1:]


def test_texts_that_could_not_be_read_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "TEXT_LIMIT", 500)
    texts = ["short", "long " * 60]
    said = failure(tmp_path / "a.h5", corpus_of(train=split_of(1, [["a"], ["a"]], texts=texts)))
    assert said.startswith(f"{tmp_path / 'a.h5'}: train texts: expected at most 500 bytes, got 600, since all take as")
