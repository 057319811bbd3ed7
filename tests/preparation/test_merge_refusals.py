"""Data sets that must not be merged: every problem is reported, by the name of its file."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from merging import refusals, shards_of
from preparing import events_of

from captioner.data.corpus import Corpus, Split
from captioner.data.prepared import prepared, write_prepared
from captioner.data.scenes.encoder import ENCODER, FEATURES
from captioner.data.shard import Shard
from captioner.text.vocabulary import Vocab


@pytest.fixture
def other(photos: Path, album: Callable[..., Path]) -> Path:
    """A folder of other photographs."""
    return album(photos.parent / "other", 4, first=20).parent


def made(photos: Path, name: str, **options: Any) -> Path:
    list(events_of(photos, photos.parent / name, **options))
    return photos.parent / name


DIFFERENT: dict[str, tuple[dict[str, Any], list[str]]] = {
    "dtype": ({"dtype": "float16"}, ["b.h5: dtype: expected float32, as in a.h5, got float16"]),
    "regions": ({"regions": True}, ["b.h5: regions: expected none, as in a.h5, got 3 x 3 x 77"]),
    "words": (
        {"min_count": 2, "max_words": 9, "max_length": 8},
        [
            "b.h5: --min-count: expected 1, as in a.h5, got 2",
            "b.h5: --max-words: expected None, as in a.h5, got 9",
            "b.h5: --max-length: expected 30, as in a.h5, got 8",
        ],
    ),
}


@pytest.mark.parametrize(("options", "expected"), DIFFERENT.values(), ids=DIFFERENT)
def test_other_options(options: dict[str, Any], expected: list[str], photos: Path, other: Path) -> None:
    assert refusals([made(photos, "a.h5"), made(other, "b.h5", **options)]) == expected


def test_another_encoder(photos: Path, other: Path) -> None:
    pytest.importorskip("onnxruntime")
    paths = [made(photos, "a.h5"), made(other, "b.h5", encoder="efficientnet-lite0:size=32")]
    assert refusals(paths) == [
        f"b.h5: encoder: expected {ENCODER}, as in a.h5, got efficientnet-lite0-1:size=32",
        f"b.h5: features per image: expected {FEATURES}, as in a.h5, got 1280",
    ]


def test_the_same_image_names(photos: Path, other: Path) -> None:
    (other / "captions.csv").write_text("image,caption\n020.png,a dog\n000.png,a cat\n001.png,a bird\n021.png,a fish\n")
    for name in ("000.png", "001.png"):
        shutil.copy(photos / "005.png", other / name)
    assert refusals([made(photos, "a.h5"), made(other, "b.h5", val=0.0)]) == [
        "b.h5: expected other image names than in a.h5, got 2 of the same: 000.png, 001.png; prepare one of them with "
        "other names, such as with their folders"
    ]


def test_an_image_name_twice_in_one_file(photos: Path, tmp_path: Path) -> None:
    corpus = prepared(made(photos, "a.h5"))
    train = corpus.split("train")
    twice = {
        name: Split(train.captions[:1], train.image_idxs[:1], train.features[:1], ["x.png"])
        for name in ("train", "val")
    }
    write_prepared(tmp_path / "b.h5", Corpus(corpus.vocab, twice, corpus.encoder), corpus.about)
    assert refusals([tmp_path / "a.h5", tmp_path / "b.h5"]) == [
        "b.h5: expected each image name once, got x.png several times"
    ]


def test_missing_and_repeated_shards(photos: Path) -> None:
    first, second, third, fourth = shards_of(photos, 4)
    shutil.copy(second, photos.parent / "again.h5")
    assert refusals([first, second, fourth]) == ["expected all shards from 1/4 to 4/4; missing: 3/4"]
    assert refusals([fourth]) == ["expected all shards from 1/4 to 4/4; missing: 1/4, 2/4, 3/4"]
    assert refusals([first, second, third, photos.parent / "again.h5"]) == [
        "shard 2/4: expected one file, got 2: part2.h5, again.h5",
        "expected all shards from 1/4 to 4/4; missing: 4/4",
    ]
    assert refusals([first, second, third, fourth, third]) == ["part3.h5: expected each file once, got it 2 times"]


def test_many_missing_shards_are_counted(photos: Path) -> None:
    (*_, last) = shards_of(photos, 8)
    assert refusals([last]) == ["expected all shards from 1/8 to 8/8; missing: 1/8, 2/8, 3/8, 4/8, 5/8 and 2 more"]


def test_shards_of_other_numbers_of_shards(photos: Path) -> None:
    paths = shards_of(photos, 2)
    third = made(photos, "c.h5", shard=Shard(1, 3))
    assert refusals([*paths, third]) == ["c.h5: number of shards: expected 2, as in part1.h5, got 3"]


def test_shards_of_other_captions(photos: Path) -> None:
    paths = shards_of(photos, 2)
    kept = paths[0].rename(photos.parent / "kept.h5")
    with open(photos / "captions.csv", "a") as table:
        table.write("000.png,another caption\n")
    shards_of(photos, 2, val=0.3, seed=1)
    (val, seed, captions) = refusals([kept, paths[1]])
    assert val == "part2.h5: --val: expected 0.25, as in kept.h5, got 0.3"
    assert seed == "part2.h5: --seed: expected 0, as in kept.h5, got 1"
    assert captions.startswith("part2.h5: captions and splits: expected SHA-256 ")


def test_a_shard_and_a_complete_data_set(photos: Path, other: Path) -> None:
    paths = [made(other, "b.h5"), *shards_of(photos, 2)]
    assert refusals(paths) == [
        "b.h5: expected a shard, as part1.h5 is, got a complete data set; merge the shards first"
    ]


def test_one_data_set(photos: Path) -> None:
    assert refusals([made(photos, "a.h5")]) == [
        "a.h5: expected at least two data sets, or all shards of one, got one complete data set"
    ]


def test_all_problems_are_reported_at_once(photos: Path, other: Path) -> None:
    paths = [made(photos, "a.h5"), made(other, "b.h5", dtype="float16")]
    damaged, absent, table = photos.parent / "damaged.h5", photos.parent / "absent.h5", photos / "captions.csv"
    content = bytearray(paths[0].read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    found = refusals([*paths, damaged, absent, table])
    for problem, expected in zip(
        found,
        [
            "damaged.h5: damaged: its content does not match its seal; ",
            "absent.h5: not found; expected a data set from `captioner prepare`; ",
            "photos/captions.csv: not a captioner data set; expected a file that `captioner prepare` wrote",
            "b.h5: dtype: expected float32, as in a.h5, got float16",
        ],
        strict=True,
    ):
        assert problem.startswith(expected)
    assert not (photos.parent / "merged.h5").exists()


OPTIONS: dict[str, tuple[object, str]] = {
    "none": (None, "expected the options of `captioner prepare`, got none; prepare it again"),
    "text for a number": ({"min_count": "5"}, "min_count: expected an integer >= 1, got '5'"),
    "true for a number": ({"max_length": True}, "max_length: expected an integer >= 1, got True"),
    "out of range": ({"min_count": 0}, "min_count: expected an integer >= 1, got 0"),
    "no path": ({"images": 3}, "images: expected a path or null, got 3"),
}


@pytest.mark.parametrize(("options", "problem"), OPTIONS.values(), ids=OPTIONS)
def test_invalid_options_in_a_file(options: object, problem: str, tmp_path: Path, photos: Path) -> None:
    vocab = Vocab.build([["a"]])
    split = Split(
        vocab.encode([["a"]]), np.zeros(1, np.int32), np.ones((1, FEATURES), np.float32), ["x.png"], texts=["a"]
    )
    write_prepared(tmp_path / "b.h5", Corpus(vocab, {"train": split}, ENCODER), {"options": options})
    found = refusals([made(photos, "a.h5"), tmp_path / "b.h5"])
    assert found == [f"b.h5: about: {problem}"]
