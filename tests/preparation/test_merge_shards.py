"""Shards of a data set: merged, they are the data set that one `captioner prepare` writes, byte by byte."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from merging import merged, shards_of, whole_of
from PIL import Image
from preparing import COUNT, Counted, events_of

from captioner.config.options import Prepare
from captioner.data import blocks as blocks_module
from captioner.data.prepared import prepared, prepared_shard
from captioner.data.shard import Shard
from captioner.errors import DataError, UsageError
from captioner.preparation.encode import EncodingProgress
from captioner.preparation.merge import merge
from captioner.preparation.prepare import Prepared


def damaged(photos: Path) -> None:
    """Remove a photograph, damage one, repeat one, and give one another spelling."""
    (photos / "001.png").unlink()
    (photos / "002.png").write_bytes(b"no photograph")
    shutil.copy(photos / "000.png", photos / "006.png")
    (photos / "004.png").rename(photos / "004.PNG")


def with_splits(photos: Path) -> None:
    """Assign splits to the images, in alternation; one image has none."""
    lines = (photos / "captions.csv").read_text().splitlines()
    names = ["test", "train", "extra", "train", "val", "", "train", "test"]
    rows = [f"{line},{names[int(line[:3])]}" for line in lines[1:]]
    (photos / "captions.csv").write_text("\n".join([f"{lines[0]},split", *rows]) + "\n")


OPTIONS: dict[str, dict[str, Any]] = {
    "float16": {"dtype": "float16"},
    "regions": {"regions": True},
    "float16 regions": {"regions": True, "dtype": "float16"},
    "few words": {"min_count": 3, "max_words": 5, "max_length": 4},
    "other splits": {"val": 0.3, "test": 0.2, "seed": 5},
}


@pytest.mark.parametrize("with_damage", [False, True], ids=["all readable", "damaged"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_merged_shards_equal_the_whole(options: dict[str, Any], with_damage: bool, photos: Path) -> None:
    if with_damage:
        damaged(photos)
    paths = shards_of(photos, 2, **options)
    assert merged(paths[::-1]) == whole_of(photos, **options)


def test_every_number_of_shards(photos: Path) -> None:
    damaged(photos)
    for name in ("001.png", "002.png"):
        shutil.copy(photos / "000.png", photos / name)
    whole = whole_of(photos, regions=True)
    for parts in range(1, COUNT + 1):
        assert merged(shards_of(photos, parts, regions=True)) == whole


@settings(max_examples=10)
@given(data=st.data())
def test_any_splits_and_any_unreadable_photographs(
    data: st.DataObject, photo_album: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    photos = Path(shutil.copytree(photo_album, tmp_path_factory.mktemp("any") / "photos"))
    with_column = data.draw(st.booleans())
    if with_column:
        with_splits(photos)
    numbered = [1, 3, 6, 4, 0, 7, 2] if with_column else list(range(COUNT))
    parts = data.draw(st.integers(1, 4))
    readable = {
        numbered[data.draw(st.sampled_from(range(len(numbered))[Shard(n + 1, parts).rows(len(numbered))]))]
        for n in range(parts)
    }
    broken = data.draw(st.sets(st.sampled_from([index for index in numbered if index not in {*readable, 1, 3}])))
    if not with_column and len(broken) > COUNT - 4:
        broken = set()
    for index in broken:
        (photos / f"{index:03}.png").write_bytes(b"")
    assert merged(shards_of(photos, parts)) == whole_of(photos)


def test_the_splits_of_the_caption_file_are_kept(photos: Path) -> None:
    with_splits(photos)
    damaged(photos)
    paths = shards_of(photos, 3)
    assert merged(paths) == whole_of(photos)
    assert list(prepared(photos.parent / "merged.h5").splits) == ["train", "val", "test"]
    assert [list(prepared(path).splits) for path in paths] == [["train"], ["train", "val"], ["test"]]


def test_words_of_caption_files_with_tokens(photos: Path) -> None:
    images = [
        {
            "filename": f"{index:03}.png",
            "split": "val" if index == 3 else "train",
            "imgid": index,
            "sentences": [
                {"raw": "A tri-colored dog.", "tokens": ["a", "tri", "colored", "dog"]},
                {"raw": f"A dog of {index}.", "tokens": ["a", "dog", "of", str(index)]},
            ],
        }
        for index in range(COUNT)
    ]
    source = photos / "dataset.json"
    source.write_text(json.dumps({"images": images}))
    paths = shards_of(source, 3, images=photos, min_count=2)
    assert merged(paths) == whole_of(source, images=photos, min_count=2)
    assert "tri" in prepared(photos / "merged.h5").vocab.words
    (shard,) = [prepared_shard(path)[1] for path in paths[:1]]
    assert shard is not None
    assert list(shard.words["train"][:2]) == ["a tri colored dog", ""]


def test_a_shard_has_its_part_with_the_splits_and_the_vocabulary_of_the_whole(photos: Path) -> None:
    whole_of(photos)
    whole = prepared(photos.parent / "whole.h5")
    for number, path in enumerate(shards_of(photos, 3), 1):
        part, shard = prepared_shard(path)
        assert part.vocab == whole.vocab
        images = sorted(image for split in part.splits.values() for image in split.image_ids)
        assert images == [f"{index:03}.png" for index in range(COUNT)][Shard(number, 3).rows(COUNT)]
        for name, split in part.splits.items():
            assert set(split.image_ids) <= set(whole.split(name).image_ids)
        assert shard is not None
        assert (shard.shard, shard.images, shard.left_out) == (Shard(number, 3), COUNT, {})


def test_a_name_means_the_same_photograph_in_every_shard(photos: Path) -> None:
    """cats/1.png is not dogs/1.png, and A.png is not a.png, whatever shard a name is in."""
    for folder in ("cats", "dogs"):
        (photos / folder).mkdir()
    shutil.copy(photos / "005.png", photos / "cats" / "1.png")
    shutil.copy(photos / "006.png", photos / "a.png")
    names = ["cats/1.png", "000.png", "002.png", "A.png", "dogs/1.png", "003.png", "004.png", "a.png"]
    shutil.copy(photos / "000.png", photos / "1.png")
    (photos / "captions.csv").write_text("image,caption\n" + "".join(f"{name},a dog {name[0]}\n" for name in names))
    paths = shards_of(photos, 4)
    assert merged(paths) == whole_of(photos)
    left_out = {name for path in paths for name in (prepared_shard(path)[1] or pytest.fail("no shard")).left_out}
    assert left_out == {"dogs/1.png", "A.png"}


def test_an_interrupted_shard_resumes(photos: Path, encoded: Counted) -> None:
    output = photos.parent / "part2.h5"
    for event in events_of(photos, output, shard=Shard(2, 2)):
        if isinstance(event, EncodingProgress) and event.done == 2:
            break
    assert event == EncodingProgress(2, 4, 0)
    encoded()
    events = list(events_of(photos, output, shard=Shard(2, 2)))
    assert EncodingProgress(4, 4, 2) in events
    assert encoded() == 2
    (one,) = shards_of(photos, 2)[:1]
    assert merged([one, output]) == whole_of(photos)


def test_features_are_read_by_blocks(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, whole = shards_of(photos, 3, regions=True), whole_of(photos, regions=True)
    monkeypatch.setattr(blocks_module, "BLOCK_VALUES", 800)
    assert merged(paths) == whole


def test_the_summary_is_that_of_the_whole(photos: Path) -> None:
    damaged(photos)
    *_, of_whole = events_of(photos, photos.parent / "whole.h5")
    *_, of_merged = merge(shards_of(photos, 3), photos.parent / "merged.h5")
    assert isinstance(of_whole, Prepared)
    assert isinstance(of_merged, Prepared)
    assert of_merged.summary == {key: value for key, value in of_whole.summary.items() if key != "problems"}
    assert of_merged.summary["counts"]["unreadable"] == of_merged.summary["counts"]["missing"] == 1


def test_a_shard_without_readable_photographs_is_an_error(photos: Path) -> None:
    for index in (0, 1):
        (photos / f"{index:03}.png").write_bytes(b"")
    with pytest.raises(DataError, match="expected photographs, got no readable one"):
        shards_of(photos, 4)


def test_shards_of_features_are_refused(photos: Path) -> None:
    with pytest.raises(UsageError, match=r"--shard 1/2: does not apply to --features"):
        list(events_of(photos, shard=Shard(1, 2), features=Path("given.h5")))


def test_more_shards_than_photographs(photos: Path, encoded: Counted) -> None:
    with pytest.raises(UsageError, match=r"--shard 9/9: expected at most one shard per image, got 8 images"):
        list(events_of(photos, shard=Shard(9, 9)))
    assert encoded() == 0


def test_shards_of_a_real_encoder(photos: Path) -> None:
    pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(0)
    for index in range(4):
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), np.uint8)).save(photos / f"{index:03}.png")
    options = {"encoder": "efficientnet-lite0:size=64", "dtype": Prepare().dtype, "regions": True}
    assert merged(shards_of(photos, 3, threads=1, **options)) == whole_of(photos, threads=1, **options)
