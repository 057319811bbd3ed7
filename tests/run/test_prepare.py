"""From captions and photographs to a data set: the right numbers, nothing encoded twice, and every loss told."""

import hashlib
import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import captioner
from captioner.config import Prepare
from captioner.data.card import card
from captioner.data.corpus import Corpus
from captioner.data.prepared import SEAL, prepared
from captioner.data.scenes import example
from captioner.data.scenes.encoder import ENCODER, FEATURES, encode
from captioner.errors import DataError, UsageError
from captioner.images.encoding import Store
from captioner.images.scenes import ScenesEncoder
from captioner.run import prepare as use_case
from captioner.run.collect import collect
from captioner.run.features import Encoding, Unreadable, find_photo, missing_photos
from captioner.run.prepare import Event, Prepared, card_of, prepare

COUNT = 8
SCENES = {"encoder": "scenes", "min_count": 1, "val": 0.25, "dtype": "float32"}
EXPECTED = encode(np.stack([example(0, "train", index).picture for index in range(COUNT)]))
LOUD = "not one line"


@pytest.fixture(scope="module")
def painted(album: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return album(tmp_path_factory.mktemp("painted"), COUNT).parent


@pytest.fixture
def photos(painted: Path, tmp_path: Path) -> Path:
    """A folder of photographs and captions.csv, to be changed."""
    return Path(shutil.copytree(painted, tmp_path / "photos"))


class Counted:
    """The number of photographs that were encoded since the last look."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self) -> int:
        for thread in threading.enumerate():
            if thread.name.startswith("encode"):  # who was stopped may still be at work
                thread.join()
        number, self.number = self.number, 0
        return number


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted, original = Counted(), ScenesEncoder.encode

    def encode(self: ScenesEncoder, batch: np.ndarray) -> np.ndarray:
        counted.number += len(batch)
        return original(self, batch)

    monkeypatch.setattr(ScenesEncoder, "encode", encode)
    return counted


def events_of(photos: Path, output: Path | None = None, *, strict: bool = False, **options: Any) -> Iterator[Event]:
    values = {name: options.pop(name) for name in ("lists", "encoder_options", "overwrite") if name in options}
    chosen = Prepare(**{**SCENES, **options})
    source = photos if photos.is_file() else photos / "captions.csv"
    return prepare([str(source)], output or photos.parent / "out.h5", chosen, strict=strict, **values)


def made(photos: Path, **options: Any) -> tuple[Corpus, list[Event]]:
    events = list(events_of(photos, **options))
    return prepared(photos.parent / "out.h5"), events


def refusal(photos: Path, kind: type[Exception] = DataError, **options: Any) -> str:
    before = {*os.listdir(photos.parent), "out.h5.part"}
    with pytest.raises(kind) as caught:
        list(events_of(photos, **options))
    assert str(caught.value).isprintable(), LOUD
    assert {*os.listdir(photos.parent), "out.h5.part"} == before
    return str(caught.value)


def features_by_name(corpus: Corpus) -> dict[str, np.ndarray]:
    return {image: split.features[row] for split in corpus.splits.values() for row, image in enumerate(split.image_ids)}


# --- what is in a data set


def test_features_and_captions_are_those_of_the_photographs(photos: Path) -> None:
    corpus, events = made(photos)
    found = features_by_name(corpus)
    assert sorted(found) == [f"{index:03}.png" for index in range(COUNT)]
    for index in range(COUNT):
        np.testing.assert_allclose(found[f"{index:03}.png"], EXPECTED[index], atol=1e-5)
    for split in corpus.splits.values():
        for row, image in enumerate(split.image_ids):
            told = example(0, "train", int(image[:3])).captions[:2]
            assert split.references(row, corpus.vocab) == [" ".join(words) for words in told]
            ids = split.captions[split.image_idxs == row].tolist()
            known = set(corpus.vocab.words)
            assert [corpus.vocab.decode(row) for row in ids] == [
                [word if word in known else "<UNK>" for word in words] for words in told
            ]
    assert {name: len(split.image_ids) for name, split in corpus.splits.items()} == {"train": 6, "val": 2}
    assert (corpus.encoder, corpus.feature_dim) == (ENCODER, FEATURES)
    assert events[:-1] == [Encoding(done, COUNT, 0) for done in range(1, COUNT + 1)]
    assert sorted(os.listdir(photos.parent)) == ["out.h5", "photos"]


def test_the_card_is_that_of_the_file(photos: Path) -> None:
    corpus, events = made(photos)
    assert isinstance(events[-1], Prepared)
    counts = events[-1].card["counts"]
    assert events[-1] == (photos.parent / "out.h5", {**card(corpus), "counts": counts, "lost": []})
    zeros = dict.fromkeys(("cut", "skipped", "left_out", "missing", "unreadable"), 0)
    assert counts == {**zeros, "min_count": 1, "different": len(corpus.vocab) - 4}


def test_the_file_tells_how_it_was_made(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    (_, *_, last) = events_of(Path("photos"), Path("out.h5"), seed=3)
    about = prepared("out.h5").about
    assert about["made_by"] == f"captioner {captioner.__version__}"
    digest = hashlib.sha256((photos / "captions.csv").read_bytes()).hexdigest()
    assert about["sources"] == [{"file": "captions.csv", "sha256": digest}]
    assert about["images"] == str(photos), "the folder is found from anywhere"
    assert (about["options"]["seed"], about["options"]["encoder"]) == (3, "scenes")
    assert isinstance(last, Prepared)
    assert about["counts"] == last.card["counts"]


def test_half_precision_is_the_default(photos: Path) -> None:
    corpus, _ = made(photos, dtype=Prepare().dtype)
    found = features_by_name(corpus)
    assert {row.dtype for row in found.values()} == {np.dtype(np.float16)}
    np.testing.assert_array_equal(found["003.png"], made_again(photos)["003.png"].astype(np.float16))


def made_again(photos: Path) -> dict[str, np.ndarray]:
    list(events_of(photos, photos.parent / "again.h5"))
    return features_by_name(prepared(photos.parent / "again.h5"))


def test_equal_commands_make_equal_files(photos: Path) -> None:
    for name, threads in (("a.h5", 1), ("b.h5", 3)):
        list(events_of(photos, photos.parent / name, threads=threads))
    first, second = ((photos.parent / name) for name in ("a.h5", "b.h5"))
    with h5py.File(first) as one, h5py.File(second) as other:
        metas = [json.loads(file["meta"][()]) for file in (one, other)]
    for meta in metas:
        meta["about"]["options"].pop("threads")
    assert metas[0] == metas[1]
    assert prepared(first).fingerprint() == prepared(second).fingerprint()
    for name, row in features_by_name(prepared(first)).items():
        np.testing.assert_array_equal(row, features_by_name(prepared(second))[name])


def test_words_captions_and_lengths_are_bounded(photos: Path) -> None:
    corpus, events = made(photos, min_count=3, max_words=5, max_length=4)
    assert len(corpus.vocab) == 4 + 5
    assert {split.captions.shape[1] for split in corpus.splits.values()} == {4 + 2}
    counts = events[-1].card["counts"]  # type: ignore[union-attr]
    lengths = [len(words) for index in range(COUNT) for words in example(0, "train", index).captions[:2]]
    assert counts["cut"] == sum(length > 4 for length in lengths) > 0
    assert counts["min_count"] == 3


def test_lists_say_the_splits(photos: Path) -> None:
    (photos / "val.txt").write_text("001.png\n005.png\nnobody.png\n")
    (photos / "train.txt").write_text("000.png\n002.png\n")
    lists = [f"{split}={photos / split}.txt" for split in ("train", "val")]
    corpus, events = made(photos, lists=lists)
    assert list(corpus.split("val").image_ids) == ["001.png", "005.png"]
    assert list(corpus.split("train").image_ids) == ["000.png", "002.png"]
    assert str(events[0]) == "list of val, image 3: nobody.png: has no caption"
    counts = events[-1].card["counts"]  # type: ignore[union-attr]
    assert (counts["left_out"], counts["skipped"]) == (COUNT - 4, 1)


def test_a_photograph_in_two_splits_is_told(photos: Path) -> None:
    shutil.copy(photos / "000.png", photos / "007.png")
    (photos / "val.txt").write_text("007.png\n")
    _, events = made(photos, lists=[f"val={photos / 'val.txt'}"])
    told = events[-1].card["duplicates"]  # type: ignore[union-attr]
    assert told == {"images": 1, "examples": [["train: 000.png", "val: 007.png"]]}


# --- nothing is encoded twice


def test_what_was_encoded_before_an_end_is_not_encoded_again(photos: Path, encoded: Counted) -> None:
    events = events_of(photos, threads=1)
    for event in events:
        if event == Encoding(5, COUNT, 0):
            break
    events.close()  # type: ignore[attr-defined]
    assert os.path.exists(photos.parent / "out.h5.part")
    assert not os.path.exists(photos.parent / "out.h5")
    encoded()
    corpus, events = made(photos, threads=1)
    assert encoded() == COUNT - 5
    assert events[:-1] == [Encoding(done, COUNT, min(done, 5)) for done in range(1, COUNT + 1)]
    for name, row in features_by_name(corpus).items():
        np.testing.assert_allclose(row, EXPECTED[int(name[:3])], atol=1e-5)
    assert not os.path.exists(photos.parent / "out.h5.part")


def test_whatever_ends_it_later_keeps_all_that_was_encoded(
    photos: Path, encoded: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(use_case, "write_prepared", interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(events_of(photos))
    encoded()
    _, events = made(photos)
    assert encoded() == 0
    assert events[-2] == Encoding(COUNT, COUNT, COUNT)


def test_what_was_half_written_is_encoded_again(photos: Path, encoded: Counted) -> None:
    part = photos.parent / "out.h5.part"
    events = events_of(photos, threads=1)
    while next(events) != Encoding(5, COUNT, 0):
        pass
    events.close()  # type: ignore[attr-defined]
    os.truncate(part, part.stat().st_size - 100)
    encoded()
    corpus, _ = made(photos)
    assert encoded() == COUNT - 4
    np.testing.assert_allclose(features_by_name(corpus)["004.png"], EXPECTED[4], atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"captioner", b"captioner encodings " + b"0" * 64 + b"\nmore"])
def test_what_another_encoder_or_nobody_has_done_is_no_work_done(
    content: bytes, photos: Path, encoded: Counted
) -> None:
    (photos.parent / "out.h5.part").write_bytes(content)
    made(photos)
    assert encoded() == COUNT


def test_a_file_of_another_kind_is_left_as_it_is(photos: Path) -> None:
    part = photos.parent / "out.h5.part"
    part.write_bytes(b"half a download")
    said = f"{part}: expected what an earlier run encoded, got another file; move it away"
    assert refusal(photos, UsageError) == said
    assert part.read_bytes() == b"half a download"
    part.unlink()
    part.symlink_to("/dev/zero")
    said = f"{part}: expected a file to keep what is encoded, got a device; move it away"
    assert refusal(photos, UsageError) == said


def test_what_a_killed_writer_left_is_swept(photos: Path) -> None:
    (photos.parent / ".out.h5.123.tmp").write_bytes(b"half a data set")
    made(photos)
    assert sorted(os.listdir(photos.parent)) == ["out.h5", "photos"]


def test_another_precision_is_other_work(photos: Path, encoded: Counted) -> None:
    events = events_of(photos, dtype="float16")
    while next(events) != Encoding(5, COUNT, 0):
        pass
    events.close()  # type: ignore[attr-defined]
    encoded()
    corpus, _ = made(photos)
    assert encoded() == COUNT
    np.testing.assert_allclose(features_by_name(corpus)["000.png"], EXPECTED[0], atol=1e-5)


def test_what_a_model_of_another_name_has_done_is_not_done_again(
    photos: Path, encoded: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = "onnx:{},size=8,mean=0,scale=1,layout=nchw,output=x,sha256=" + 64 * "0"
    monkeypatch.setattr(ScenesEncoder, "identity", identity.format("old.onnx"))
    events = events_of(photos, threads=1)
    while next(events) != Encoding(5, COUNT, 0):
        pass
    events.close()  # type: ignore[attr-defined]
    encoded()
    monkeypatch.setattr(ScenesEncoder, "identity", identity.format("new.onnx"))
    made(photos)
    assert encoded() == COUNT - 5


def test_a_changed_photograph_is_encoded_again(photos: Path, encoded: Counted) -> None:
    events = events_of(photos, threads=1)
    while next(events) != Encoding(5, COUNT, 0):
        pass
    events.close()  # type: ignore[attr-defined]
    shutil.copy(photos / "007.png", photos / "001.png")
    encoded()
    corpus, _ = made(photos)
    assert encoded() == COUNT - 5 + 1
    np.testing.assert_allclose(features_by_name(corpus)["001.png"], EXPECTED[7], atol=1e-5)


def test_two_processes_do_not_write_one_file(photos: Path) -> None:
    part = photos.parent / "out.h5.part"
    with Store(part, ENCODER, FEATURES, np.dtype(np.float32)):
        said = refusal(photos, UsageError)
    assert said == f"{part}: another process encodes into this file; wait for it"


def test_a_full_disk_keeps_what_was_encoded(
    photos: Path, encoded: Counted, files_of_at_most: Callable[[int], Any]
) -> None:
    with files_of_at_most(3 * 4 * FEATURES):
        said = refusal(photos)
    assert said == f"{photos.parent / 'out.h5.part'}: cannot keep what is encoded: File too large"
    encoded()
    made(photos)
    assert encoded() == COUNT - 2


# --- photographs that are missing or damaged


def test_a_photograph_that_cannot_be_read_is_told_and_the_rest_written(photos: Path) -> None:
    (photos / "002.png").write_bytes(b"no photograph")
    (photos / "004.png").unlink()
    corpus, events = made(photos)
    assert sorted(features_by_name(corpus)) == [f"{index:03}.png" for index in (0, 1, 3, 5, 6, 7)]
    told = [event for event in events if isinstance(event, Unreadable)]
    assert [event.image for event in told] == ["004.png", "002.png"]
    assert str(told[0]) == f"{photos / '004.png'}: no such photograph"
    assert str(told[1]).startswith(f"{photos / '002.png'}: expected a photograph")
    counts = events[-1].card["counts"]  # type: ignore[union-attr]
    assert (counts["missing"], counts["unreadable"]) == (1, 1)
    assert prepared(photos.parent / "out.h5").about["counts"] == counts


@pytest.mark.parametrize("missing", [True, False])
def test_strictly_the_first_one_stops(missing: bool, photos: Path) -> None:
    (photos / "002.png").unlink() if missing else (photos / "002.png").write_bytes(b"no photograph")
    said = refusal(photos, strict=True)
    assert said.startswith(f"{photos / '002.png'}: ")
    assert said.endswith("; without --strict it is left out and counted")


def test_strictly_the_first_flaw_stops(photos: Path) -> None:
    with open(photos / "captions.csv", "a") as file:
        file.write("003.png,\n")
    expected = "captions.csv:18: caption: expected a text, got nothing; without --strict it is skipped and counted"
    assert refusal(photos, strict=True) == expected
    _, events = made(photos)
    assert str(events[0]) == expected.partition(";")[0]
    assert events[-1].card["counts"]["skipped"] == 1  # type: ignore[union-attr]


def test_no_photograph_at_all(photos: Path) -> None:
    said = refusal(photos, images=photos.parent)
    assert said == (
        f"{photos.parent}: expected the photographs, got none of 8, such as 000.png; name their folder with --images"
    )
    for index in range(COUNT):
        (photos / f"{index:03}.png").write_bytes(b"no photograph")
    assert refusal(photos) == f"{photos}: expected photographs, got none that can be read"


def test_no_photograph_of_train(photos: Path) -> None:
    (photos / "train.txt").write_text("000.png\n")
    (photos / "val.txt").write_text("001.png\n")
    (photos / "000.png").unlink()
    said = refusal(photos, lists=[f"{split}={photos / split}.txt" for split in ("train", "val")])
    assert said == "expected images in the split train, got none whose photograph can be read"


def test_a_split_without_photographs_is_left_out(photos: Path) -> None:
    (photos / "val.txt").write_text("001.png\n")
    (photos / "001.png").unlink()
    corpus, _ = made(photos, lists=[f"val={photos / 'val.txt'}"])
    assert list(corpus.splits) == ["train"]


PLACES = {
    "a.png": ["a.png"],
    "below/a.png": ["below/a.png"],
    "train2014/a.png": ["a.png"],
    "a": ["a.png", "a.jpeg", "a.jpg"],
    "below/b": ["b.jpeg", "below/b.jpg"],
    "A.PNG": ["A.PNG"],
    "猫 \udcff\n.jpg": ["猫 \udcff\n.jpg"],
    "a.b.c": ["a.b.c"],
}


@pytest.mark.parametrize("name", PLACES)
def test_a_name_leads_to_its_photograph(name: str, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    assert find_photo(tmp_path, name) is None
    for place in PLACES[name]:
        (tmp_path / place).touch()
        assert find_photo(tmp_path, name) == tmp_path / place


@pytest.mark.parametrize("name", ["", ".", "..", "/", "//", "a" * 5000, "a/" * 3000, "a\0b", "below", "~", "\udcff"])
def test_a_name_that_no_photograph_has(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, Path(), Path("/"), Path("no")):
        assert find_photo(folder, name) is None


def test_captions_in_the_place_of_names_are_missing_photographs(photos: Path) -> None:
    with open(photos / "captions.csv", "a") as file:
        file.write(f"{'a long story ' * 40},a dog\n.,a cat\n")
    _, events = made(photos)
    told = [event.problem for event in events if isinstance(event, Unreadable)]
    assert len(told) == 2
    assert all(problem.endswith(": no such photograph") for problem in told)


# --- where to write


def test_a_file_that_is_there_is_left_as_it_is(photos: Path) -> None:
    output = photos.parent / "out.h5"
    output.write_bytes(b"precious")
    said = refusal(photos, UsageError)
    assert said == f"{output}: exists already; name another file, or replace it with --overwrite"
    assert output.read_bytes() == b"precious"
    output.write_bytes(SEAL.magic + b" of old")
    list(events_of(photos, overwrite=True))
    assert prepared(output).encoder == ENCODER


NO_DATA_SETS: dict[str, Callable[[Path], object]] = {
    "a folder": os.mkdir,
    "a pipe": os.mkfifo,
    "a device": lambda path: os.symlink("/dev/null", path),
    "a link to nowhere": lambda path: os.symlink("nowhere", path),
    "the captions by another name": lambda path: os.symlink(path.parent / "photos" / "captions.csv", path),
    "a photograph": lambda path: os.link(path.parent / "photos" / "000.png", path),
    "given features": lambda path: given_features(path.parent, np.ones((2, 2))).rename(path),
}


@pytest.mark.parametrize("make", NO_DATA_SETS.values(), ids=NO_DATA_SETS)
def test_nothing_but_a_data_set_is_replaced(make: Callable[[Path], object], photos: Path) -> None:
    output = photos.parent / "out.h5"
    make(output)
    before = os.lstat(output)
    said = refusal(photos, UsageError, overwrite=True)
    assert said == f"{output}: expected a data set to replace, got something else; name another file"
    assert os.path.samestat(os.lstat(output), before)
    assert refusal(photos, UsageError) == f"{output}: exists already; name another file, or replace it with --overwrite"


def test_what_has_come_while_photographs_were_encoded_is_left_as_it_is(photos: Path, encoded: Counted) -> None:
    output = photos.parent / "out.h5"
    events = events_of(photos)
    while next(events) != Encoding(COUNT, COUNT, 0):
        pass
    output.write_bytes(b"precious")
    with pytest.raises(UsageError, match="exists already"):
        next(events)
    assert output.read_bytes() == b"precious"
    output.unlink()
    encoded()
    made(photos)
    assert encoded() == 0


def test_a_place_where_nothing_can_be_written(photos: Path) -> None:
    absent = photos.parent / "absent" / "out.h5"
    assert refusal(photos, UsageError, output=absent) == (
        f"{absent}: expected a folder to write into, got {absent.parent}, which is none"
    )


def test_the_captions_are_not_overwritten(photos: Path) -> None:
    table = photos / "captions.csv"
    before = table.read_bytes()
    assert refusal(photos, UsageError, output=table, overwrite=True) == (
        f"{table}: expected a data set to replace, got something else; name another file"
    )
    assert table.read_bytes() == before


@pytest.mark.parametrize(("split", "shown"), [("a/b", "'a/b'"), ("meta", "'meta'"), ("a\x1bb", r"'a\x1bb'")])
def test_a_split_that_no_file_can_have_is_told_before_anything_is_encoded(
    split: str, shown: str, photos: Path, encoded: Counted
) -> None:
    (photos / "captions.csv").write_text(f"image,caption,split\n000.png,a,train\n001.png,b,{split}\n")
    expected = f"{photos / 'captions.csv'}: expected a split's name such as train, got {shown}; name it otherwise"
    assert refusal(photos) == expected
    assert encoded() == 0


def test_more_splits_than_a_file_can_have_are_told_before_anything_is_encoded(photos: Path, encoded: Counted) -> None:
    rows = "".join(f"{row}.png,a,train{row or ''}\n" for row in range(100))
    (photos / "captions.csv").write_text(f"image,caption,split\n{rows}")
    assert refusal(photos).endswith("expected 1 to 64 splits, got 100; check the column of the split")
    assert encoded() == 0


def test_texts_that_no_file_can_hold_are_told_before_anything_is_encoded(
    photos: Path, encoded: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    # in its package the name of the module is that of its function
    monkeypatch.setattr(sys.modules["captioner.data.prepared"], "TEXT_LIMIT", 4000)
    with open(photos / "captions.csv", "a") as file:
        file.write(f"000.png,{'long ' * 300}\n000.png,{'n' * 300}\n")
    said = refusal(photos)
    assert re.search(r"captions\.csv: \w+ texts: expected at most 4000 bytes, got \d+, since all take as much", said)
    assert encoded() == 0


# --- features that somebody else has made


def given_features(folder: Path, values: np.ndarray) -> Path:
    with h5py.File(folder / "given.h5", "w") as file:
        file["features"] = values
    return folder / "given.h5"


def test_given_rows_are_taken_in_the_order_of_the_table(photos: Path, encoded: Counted) -> None:
    values = np.arange(COUNT * 3, dtype=np.float32).reshape(COUNT, 3)
    given = given_features(photos.parent, values)
    corpus, events = made(photos, features=given, encoder=None)
    for name, row in features_by_name(corpus).items():
        np.testing.assert_array_equal(row, values[int(name[:3])])
    digest = hashlib.sha256(given.read_bytes()).hexdigest()
    assert corpus.encoder == f"features:given.h5,sha256={digest}"
    assert (len(events), encoded()) == (1, 0)


def test_given_rows_are_taken_by_the_numbers_of_the_images(photos: Path) -> None:
    told = [
        {"filename": f"{row:03}.png", "split": "train", "imgid": COUNT - 1 - row, "sentences": [{"raw": "a dog"}]}
        for row in range(COUNT)
    ]
    (photos / "dataset.json").write_text(json.dumps({"images": told}))
    values = np.arange(COUNT, dtype=np.float32)[:, None]
    list(
        events_of(
            photos / "dataset.json", photos.parent / "out.h5", features=given_features(photos, values), encoder=None
        )
    )
    train = prepared(photos.parent / "out.h5").split("train")
    assert train.features[:].ravel().tolist() == values.ravel().tolist()[::-1]


def test_two_images_do_not_share_a_row(photos: Path) -> None:
    """Each file of COCO numbers its images from 0."""
    for split in ("train", "val"):
        content = {
            "images": [{"id": 1, "file_name": f"{split}.png"}],
            "annotations": [{"image_id": 1, "caption": "a dog"}],
        }
        (photos / f"captions_{split}.json").write_text(json.dumps(content))
    given = given_features(photos.parent, np.ones((6, 3), np.float32))
    sources = [str(photos / f"captions_{split}.json") for split in ("train", "val")]
    with pytest.raises(DataError) as caught:
        list(prepare(sources, photos.parent / "out.h5", Prepare(features=given)))
    assert str(caught.value) == (
        f"{given}: row 0: expected one image, got 2 (train.png, val.png); prepare each file by itself"
    )


def test_images_beyond_the_given_rows_are_left_out(photos: Path) -> None:
    given = given_features(photos.parent, np.ones((6, 3), np.float32))
    corpus, events = made(photos, features=given, encoder=None)
    assert [str(event) for event in events[:-1]] == [
        f"{name}: expected a row of {given} below 6, got {row}" for row, name in ((6, "006.png"), (7, "007.png"))
    ]
    assert sorted(features_by_name(corpus)) == [f"{index:03}.png" for index in range(6)]
    counts = events[-1].card["counts"]  # type: ignore[union-attr]
    assert (counts["missing"], counts["unreadable"]) == (2, 0)
    (photos.parent / "out.h5").unlink()
    said = refusal(photos, features=given, encoder=None, strict=True)
    assert said == f"006.png: expected a row of {given} below 6, got 6; without --strict it is left out and counted"


def test_no_given_row_at_all(photos: Path) -> None:
    told = [{"filename": "000.png", "split": "train", "imgid": 9, "sentences": [{"raw": "a dog"}]}]
    (photos / "dataset.json").write_text(json.dumps({"images": told}))
    given = given_features(photos, np.ones((6, 3), np.float32))
    with pytest.raises(DataError) as caught:
        list(events_of(photos / "dataset.json", photos.parent / "out.h5", features=given, encoder=None))
    assert str(caught.value) == f"{given}: expected a row for each image, got 6 rows and none that an image has"


def test_given_features_of_the_encoder_are_those_of_the_encoder(photos: Path) -> None:
    corpus, _ = made(photos, features=given_features(photos.parent, EXPECTED.astype(np.float16)))
    assert corpus.encoder == ENCODER
    np.testing.assert_allclose(features_by_name(corpus)["003.png"], EXPECTED[3], atol=1e-2)


def test_given_features_of_another_encoder_are_refused(photos: Path) -> None:
    given = given_features(photos.parent, EXPECTED[::-1])
    said = refusal(photos, features=given)
    pattern = (
        rf"{given}: expected the features of {ENCODER}, got others: those of 00\d.png are apart by [\d.]+%; name .*"
    )
    assert re.fullmatch(pattern, said)
    given = given_features(photos.parent, EXPECTED[:, :-1])
    assert refusal(photos, features=given) == (
        f"{given}: expected {FEATURES} numbers an image, as {ENCODER} has, got {FEATURES - 1}"
    )


def test_options_of_an_encoder_that_nobody_names_are_refused(photos: Path) -> None:
    given = given_features(photos.parent, EXPECTED)
    said = refusal(photos, UsageError, features=given, encoder=None, encoder_options={"size": "8"})
    assert said == f"{given}: expected an encoder with --encoder-option; name the one of these features"


def test_without_photographs_the_user_is_believed(photos: Path) -> None:
    corpus, _ = made(photos, features=given_features(photos.parent, EXPECTED[::-1]), images=photos.parent)
    assert corpus.encoder == ENCODER


def test_given_features_that_cannot_be_used(photos: Path) -> None:
    out = photos.parent / "out.h5"
    given = given_features(photos.parent, np.full((COUNT, 3), 1e6, np.float32))
    assert refusal(photos, features=given, encoder=None, dtype="float16") == (
        "features: expected numbers that float16 can hold, got 1e+06; try float32"
    )
    given = given_features(photos.parent, np.full((COUNT, 3), np.nan, np.float32))
    assert refusal(photos, features=given, encoder=None) == (
        f"{out}: train features: row 0: a number is not finite (NaN or infinity)"
    )
    given.write_bytes(b"text")
    assert refusal(photos, features=given, encoder=None) == (
        f"{given}: expected an HDF5 file, got one that begins with b'text'"
    )


# --- captions alone


def test_the_card_of_captions_is_that_of_the_data_set(photos: Path) -> None:
    _, events = made(photos)
    collected = collect([str(photos / "captions.csv")], [], Prepare(**SCENES))
    told = card_of(collected, Prepare(**SCENES))
    whole = events[-1].card  # type: ignore[union-attr]
    assert told["splits"] == whole["splits"]
    assert told["vocabulary"] == whole["vocabulary"]
    assert told["counts"] == {key: n for key, n in whole["counts"].items() if key not in ("missing", "unreadable")}


def test_missing_photographs_are_told_without_reading_any(photos: Path) -> None:
    (photos / "000.png").write_bytes(b"no photograph")
    (photos / "001.png").unlink()
    collected = collect([str(photos / "captions.csv")], [], Prepare(**SCENES))
    assert [str(one) for one in missing_photos(collected, photos)] == [f"{photos / '001.png'}: no such photograph"]
