"""Merging complete data sets: what is kept, what is built again, and how the output is written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from merging import merged, merged_corpus, refusals, shards_of
from preparing import COUNT, events_of, features_by_name

import captioner
from captioner.config.options import Prepare
from captioner.data.prepared import prepared, prepared_shard
from captioner.errors import DataError, UsageError
from captioner.preparation.merge import MergeProgress, merge
from captioner.preparation.prepare import Prepared, prepare


@pytest.fixture
def shops(photos: Path, album: Callable[..., Path]) -> list[Path]:
    """The data sets of two shops, with other photographs, fractions of val, and numbers of captions."""
    album(photos.parent / "more", 5, first=20)
    paths = [photos.parent / "a.h5", photos.parent / "b.h5"]
    list(events_of(photos, paths[0], regions=True, min_count=2))
    list(events_of(photos.parent / "more", paths[1], regions=True, min_count=2, val=0.4, test=0.2))
    return paths


def captions_of(path: Path) -> dict[str, tuple[str, list[str]]]:
    """The split and the captions of every image."""
    corpus = prepared(path)
    return {
        image: (name, split.references(row, corpus.vocab))
        for name, split in corpus.splits.items()
        for row, image in enumerate(split.image_ids)
    }


def test_images_keep_their_split_captions_features_and_regions(shops: list[Path]) -> None:
    corpus = merged_corpus(shops)
    assert captions_of(shops[0].parent / "merged.h5") == {**captions_of(shops[0]), **captions_of(shops[1])}
    assert list(corpus.splits) == ["train", "val", "test"]
    parts = [prepared(path, regions=True) for path in shops]
    found = features_by_name(corpus)
    for part in parts:
        for name, split in part.splits.items():
            for row, image in enumerate(split.image_ids):
                np.testing.assert_array_equal(found[image], split.features[row])
                merged_row = list(corpus.split(name).image_ids).index(image)
                np.testing.assert_array_equal(corpus.split(name).regions[merged_row], split.regions[row])  # type: ignore[index]
    assert list(corpus.split("train").image_ids) == [
        *parts[0].split("train").image_ids, *parts[1].split("train").image_ids
    ]  # fmt: skip


def test_the_vocabulary_is_that_of_all_captions(shops: list[Path], photos: Path) -> None:
    """It equals that of one preparation of all caption files with the same splits."""
    corpus = merged_corpus(shops)
    folder = photos.parent / "all"
    folder.mkdir()
    lines = ["image,caption,split"]
    for image, (split, captions) in captions_of(photos.parent / "merged.h5").items():
        shutil.copy(next(photos.parent.glob(f"*/{image}")), folder / image)
        lines += [f"{image},{caption},{split}" for caption in captions]
    (folder / "captions.csv").write_text("\n".join(lines) + "\n")
    list(events_of(folder, photos.parent / "together.h5", regions=True, min_count=2))
    together = prepared(photos.parent / "together.h5", regions=True)
    assert together.vocab == corpus.vocab
    assert set(corpus.vocab.words) > set(prepared(shops[0]).vocab.words)
    for name, split in together.splits.items():
        np.testing.assert_array_equal(split.captions, corpus.split(name).captions)


def test_the_metadata(shops: list[Path]) -> None:
    *progress, last = merge(shops, shops[0].parent / "merged.h5")
    assert progress == [MergeProgress(1, 2), MergeProgress(2, 2)]
    about = prepared(shops[0].parent / "merged.h5").about
    assert about["made_by"] == f"captioner {captioner.__version__}"
    assert about["sources"] == [source for path in shops for source in prepared(path).about["sources"]]
    assert about["options"]["min_count"] == 2
    assert "images" not in about
    assert not {"val", "test"} & {*about["options"]}, "what differs is left out"
    assert isinstance(last, Prepared)
    assert about["counts"] == last.summary["counts"]
    assert last.summary["between_files"] == {"images": 0, "examples": []}
    assert last.summary["unknown_words"] == 0


def test_merged_data_sets_can_be_merged_again(shops: list[Path], photos: Path, album: Callable[..., Path]) -> None:
    merged(shops)
    first = (photos.parent / "merged.h5").rename(photos.parent / "first.h5")
    album(photos.parent / "third", 3, first=40)
    list(events_of(photos.parent / "third", photos.parent / "c.h5", regions=True, min_count=2))
    assert len(captions_of(first)) == COUNT + 5
    merged([first, photos.parent / "c.h5"])
    assert len(captions_of(photos.parent / "merged.h5")) == COUNT + 5 + 3


def test_photographs_in_two_files_are_kept_and_reported(photos: Path) -> None:
    """As `captioner prepare` keeps a photograph that has two names, also with the same captions."""
    other = photos.parent / "other"
    other.mkdir()
    shutil.copy(photos / "000.png", other / "copy.png")
    shutil.copy(photos / "001.png", other / "1.png")
    (other / "captions.csv").write_text("image,caption\ncopy.png,a dog\n1.png,a cat\n")
    paths = [photos.parent / "a.h5", photos.parent / "b.h5"]
    list(events_of(photos, paths[0]))
    list(events_of(other, paths[1], val=0.0))
    *_, last = merge(paths, photos.parent / "merged.h5")
    assert isinstance(last, Prepared)
    shared = last.summary["between_files"]
    assert shared["images"] == 2
    assert sorted(shared["examples"]) == [
        [f"{paths[0]}: {name}", f"{paths[1]}: {copy}"] for name, copy in (("000.png", "copy.png"), ("001.png", "1.png"))
    ]
    assert {"000.png", "copy.png"} <= set(captions_of(photos.parent / "merged.h5"))


def test_other_words_than_those_of_the_tokenizer(photos: Path) -> None:
    """The words of a file with tokens are kept, except those that the data set replaced by <UNK>."""
    sentences = [
        {"raw": "A tri-colored dog", "tokens": ["a", "tri", "colored", "dog"]},
        {"raw": "A rare-bird dog", "tokens": ["a", "rare", "bird", "dog"]},
    ]
    paths = []
    for name, number, few in (("a", 0, sentences), ("b", 4, [sentences[0], sentences[0]])):
        images = [
            {
                "filename": f"{number + row}.png",
                "split": "train",
                "imgid": row,
                "sentences": few if row == 0 else [sentences[0]],
            }
            for row in range(2)
        ]
        for image in images:
            shutil.copy(photos / "000.png", photos / str(image["filename"]))
        (photos / f"{name}.json").write_text(json.dumps({"images": images}))
        paths.append(photos.parent / f"{name}.h5")
        list(prepare([str(photos / f"{name}.json")], paths[-1], Prepare(encoder="scenes", min_count=2)))
    *_, last = merge(paths, photos.parent / "merged.h5")
    assert isinstance(last, Prepared)
    assert last.summary["unknown_words"] == 1
    corpus = prepared(photos.parent / "merged.h5")
    assert corpus.vocab.words[4:] == ("a", "dog", "colored", "tri")
    assert corpus.vocab.decode(corpus.split("train").captions[1].tolist()) == ["a", "<UNK>", "<UNK>", "dog"]


def test_a_merged_shard_is_no_shard(photos: Path) -> None:
    paths = shards_of(photos, 2)
    assert [prepared(path).about["shard"] for path in paths] == ["1/2", "2/2"]
    merged(paths)
    assert prepared_shard(photos.parent / "merged.h5")[1] is None
    assert "shard" not in prepared(photos.parent / "merged.h5").about


# --- the output


def test_an_existing_file_is_kept(shops: list[Path]) -> None:
    output = shops[0].parent / "merged.h5"
    output.write_bytes(b"precious")
    assert refusals(shops, UsageError) == [
        "merged.h5: exists already; name another file, or replace it with --overwrite"
    ]
    assert refusals(shops, UsageError, overwrite=True) == [
        "merged.h5: expected a data set to replace, got something else; name another file"
    ]
    assert output.read_bytes() == b"precious"


def test_the_output_is_not_an_input(shops: list[Path]) -> None:
    before = shops[1].read_bytes()
    assert refusals(shops, UsageError, output=shops[1], overwrite=True) == [
        "b.h5: expected an output other than the data sets to merge, got one of them"
    ]
    assert shops[1].read_bytes() == before


@pytest.mark.parametrize("most", [0, 600, 9_000])
def test_a_full_disk_keeps_the_old_file(most: int, shops: list[Path], files_of_at_most: Callable[[int], Any]) -> None:
    before = merged(shops)
    with files_of_at_most(most):
        (message,) = refusals(shops, DataError, overwrite=True)
    assert message.startswith("merged.h5: cannot write the data set: ")
    assert message.endswith("; the previous one is kept")
    assert (shops[0].parent / "merged.h5").read_bytes() == before
    assert list(shops[0].parent.glob(".*.tmp")) == []


def test_a_data_set_that_changes_during_merging_is_an_error(shops: list[Path]) -> None:
    events = merge(shops, shops[0].parent / "merged.h5")
    assert [next(events), next(events)] == [MergeProgress(1, 2), MergeProgress(2, 2)]
    shutil.copy(shops[0], shops[0].parent / "copy.h5")
    (shops[0].parent / "copy.h5").replace(shops[0])
    with pytest.raises(DataError, match=r"a\.h5: the file was replaced while it was in use"):
        list(events)
    assert not (shops[0].parent / "merged.h5").exists()
