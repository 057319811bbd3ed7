"""Preparation of a data set from captions and photographs: contents, splits, limits and output files."""

import hashlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from preparing import COUNT, EXPECTED, Counted, events_of, feature_file, features_by_name, made, refusal

import captioner
from captioner.data.prepared import prepared
from captioner.data.scenes import ENCODER, FEATURES, example
from captioner.errors import DataError, UsageError
from captioner.photos.encode import EncodingProgress
from captioner.photos.prepare import Prepared

# --- what is in a data set


def test_features_and_captions_match_the_photographs(photos: Path) -> None:
    corpus, events = made(photos)
    features = features_by_name(corpus)
    assert sorted(features) == [f"{index:03}.png" for index in range(COUNT)]
    for index in range(COUNT):
        np.testing.assert_allclose(features[f"{index:03}.png"], EXPECTED[index], atol=1e-5)
    for split in corpus.splits.values():
        for row, image in enumerate(split.image_ids):
            references = example(0, "train", int(image[:3])).captions[:2]
            assert split.references(row, corpus.vocab) == [" ".join(words) for words in references]
            ids = split.captions[split.image_idxs == row].tolist()
            known = set(corpus.vocab.words)
            assert [corpus.vocab.decode(row) for row in ids] == [
                [word if word in known else "<UNK>" for word in words] for words in references
            ]
    assert {name: len(split.image_ids) for name, split in corpus.splits.items()} == {"train": 6, "val": 2}
    assert (corpus.encoder, corpus.feature_dim) == (ENCODER, FEATURES)
    assert events[:-1] == [EncodingProgress(done, COUNT) for done in range(1, COUNT + 1)]
    assert sorted(os.listdir(photos.parent)) == ["out.h5", "photos"]


def test_the_file_contains_its_provenance(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    (_, *_, last) = events_of(Path("photos"), Path("out.h5"), seed=3)
    about = prepared("out.h5").about
    assert about["made_by"] == f"captioner {captioner.__version__}"
    digest = hashlib.sha256((photos / "captions.csv").read_bytes()).hexdigest()
    assert about["sources"] == [{"file": "captions.csv", "sha256": digest}]
    assert about["images"] == str(photos), "the folder is found from anywhere"
    assert (about["options"]["seed"], about["options"]["encoder"]) == (3, "scenes")
    assert isinstance(last, Prepared)
    assert about["counts"] == last.summary["counts"]


def test_equal_commands_write_equal_files(photos: Path) -> None:
    for name, threads in (("a.h5", 1), ("b.h5", 3)):
        list(events_of(photos, photos.parent / name, threads=threads))
    first, second = ((photos.parent / name) for name in ("a.h5", "b.h5"))
    corpora = prepared(first), prepared(second)
    for corpus in corpora:
        corpus.about["options"].pop("threads")
    assert corpora[0].about == corpora[1].about
    assert corpora[0].digest == corpora[1].digest
    for name, row in features_by_name(corpora[0]).items():
        np.testing.assert_array_equal(row, features_by_name(corpora[1])[name])


def test_captions_and_lengths_are_bounded(photos: Path) -> None:
    corpus, events = made(photos, min_count=3, max_length=4)
    assert {split.captions.shape[1] for split in corpus.splits.values()} == {4 + 2}
    counts = events[-1].summary["counts"]  # type: ignore[union-attr]
    lengths = [len(words) for index in range(COUNT) for words in example(0, "train", index).captions[:2]]
    assert counts["truncated"] == sum(length > 4 for length in lengths) > 0
    assert counts["min_count"] == 3


# --- where to write


NO_DATA_SETS: dict[str, Callable[[Path], object]] = {
    "a folder": os.mkdir,
    "a device": lambda path: os.symlink("/dev/null", path),
    "the captions by another name": lambda path: os.symlink(path.parent / "photos" / "captions.csv", path),
    "a photograph": lambda path: os.link(path.parent / "photos" / "000.png", path),
    "a file of features": lambda path: feature_file(path.parent, np.ones((2, 2))).rename(path),
}


@pytest.mark.parametrize("make", NO_DATA_SETS.values(), ids=NO_DATA_SETS)
def test_only_data_sets_are_overwritten(make: Callable[[Path], object], photos: Path) -> None:
    output = photos.parent / "out.h5"
    make(output)
    before = os.lstat(output)
    message = refusal(photos, UsageError, overwrite=True)
    folder = f"{output}: expected a file name, got a folder"
    other = f"{output}: expected a data set to replace, got something else; use another file"
    assert message == (folder if output.is_dir() else other)
    assert os.path.samestat(os.lstat(output), before)
    taken = f"{output}: exists already; use another file, or replace it with --overwrite"
    assert refusal(photos, UsageError) == (folder if output.is_dir() else taken)


def test_a_file_created_during_encoding_is_kept_and_so_is_the_data_set(photos: Path) -> None:
    output = photos.parent / "out.h5"
    events = events_of(photos)
    while next(events) != EncodingProgress(COUNT, COUNT):
        pass
    output.write_bytes(b"precious")
    with pytest.raises(
        DataError, match=r"a file was created there during the run, and is not replaced; the new one is .*/out-2\.h5$"
    ):
        next(events)
    assert output.read_bytes() == b"precious"
    assert prepared(output.with_name("out-2.h5")).splits.keys() == {"train", "val"}


def test_a_full_disk_is_reported(photos: Path, files_of_at_most: Callable[[int], Any]) -> None:
    with files_of_at_most(3 * 4 * FEATURES):
        message = refusal(photos)
    assert message == f"{photos.parent / 'out.h5'}: cannot store features: File too large"


NO_SPLITS = {
    "an invalid name": ("000.png,a,train\n001.png,b,a\x1bb\n", r"got 'a\x1bb'; rename it"),
    "too many": ("".join(f"{row}.png,a,train{row or ''}\n" for row in range(100)), "got 100; check the split column"),
}


@pytest.mark.parametrize("name", NO_SPLITS)
def test_invalid_splits_are_reported_before_encoding(name: str, photos: Path, encoded: Counted) -> None:
    rows, expected = NO_SPLITS[name]
    (photos / "captions.csv").write_text(f"image,caption,split\n{rows}")
    message = refusal(photos)
    assert message.startswith(f"{photos / 'captions.csv'}: expected ")
    assert message.endswith(expected)
    assert encoded() == 0


def test_oversized_texts_are_reported_before_encoding(
    photos: Path, encoded: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    # in its package the name of the module is that of its function
    monkeypatch.setattr(sys.modules["captioner.data.prepared"], "TEXT_LIMIT", 4000)
    with open(photos / "captions.csv", "a") as file:
        file.write(f"000.png,{'long ' * 300}\n000.png,{'n' * 300}\n")
    message = refusal(photos)
    assert re.search(r"captions\.csv: \w+ texts: expected at most 4000 bytes, got \d+, since each is padded", message)
    assert encoded() == 0
