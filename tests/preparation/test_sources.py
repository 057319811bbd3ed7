"""Data sets of several sources: folders, names, splits, copies, and features of data sets that were prepared before."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from preparing import EXPECTED, SCENES, Counted, feature_file, features_by_name

from captioner.config.options import Prepare
from captioner.data.caption_readers import CaptionRecord, read_captions
from captioner.data.corpus import Corpus
from captioner.data.prepared import prepared
from captioner.errors import CaptionerError, DataError, UsageError
from captioner.photos.prepare import Event, prepare
from captioner.preparation.image_folders import source_names
from captioner.preparation.image_records import MAX_SOURCES, read_records
from captioner.report.gallery import pictures_of_split

pytestmark = pytest.mark.filterwarnings("ignore:features are stored in float32")  # so few photographs hardly differ

OPTIONS = {**SCENES, "val": 0.1}


def made(output: Path, *sources: object, lists: tuple[str, ...] = (), **options: Any) -> tuple[Corpus, list[Event]]:
    chosen = Prepare(**{**OPTIONS, **options})
    events = list(prepare([str(source) for source in sources], output, chosen, lists=lists, overwrite=True))
    return prepared(output, regions=True), events


def names(corpus: Corpus) -> dict[str, list[str]]:
    return {name: list(split.image_ids) for name, split in corpus.splits.items()}


def rows(corpus: Corpus) -> dict[str, bytes]:
    return {name: row.tobytes() for name, row in features_by_name(corpus).items()}


@pytest.fixture
def two(album: Callable[..., Path], tmp_path: Path) -> list[Path]:
    """The caption files of two folders with different photographs of the same names: a has no splits, b has."""
    first, second = album(tmp_path / "one", 4), album(tmp_path / "two", 4, 4)
    for number in range(4):
        (second.parent / f"{number + 4:03}.png").rename(second.parent / f"{number:03}.png")
    lines = [f"{number:03}.png,a b{number},{'val' if number == 1 else 'train'}" for number in range(4)]
    second.write_text("\n".join(["image,caption,split", *lines]))
    return [first.rename(first.with_name("a.csv")), second.rename(second.with_name("b.csv"))]


def test_each_source_has_its_folder_and_its_splits(two: list[Path], tmp_path: Path) -> None:
    """The images of a split are in the order of the sources; only the source without splits is split at random."""
    corpus, events = made(tmp_path / "both.h5", *two)
    splits = names(corpus)
    (drawn,) = set(range(4)) - {int(name[2:5]) for name in splits["train"] if name.startswith("a/")}
    assert splits["val"] == [f"a/{drawn:03}.png", "b/001.png"]
    assert splits["train"] == [
        *(f"a/{n:03}.png" for n in range(4) if n != drawn),
        *(f"b/{n:03}.png" for n in (0, 2, 3)),
    ]
    assert {name: split.sources for name, split in corpus.splits.items()} == {
        "train": ["a"] * 3 + ["b"] * 3, "val": ["a", "b"]
    }  # fmt: skip
    expected = {
        f"{source}/{row:03}.png": EXPECTED[row + first].tobytes()
        for source, first in (("a", 0), ("b", 4))
        for row in range(4)
    }
    assert rows(corpus) == expected
    assert {"b0", "b2", "b3"} < set(corpus.vocab.words)
    assert corpus.about["images"] == [path.parent.as_posix() for path in two]
    assert {name: split["sources"] for name, split in events[-1].summary["splits"].items()} == {
        "train": {"a": 3, "b": 3}, "val": {"a": 1, "b": 1}
    }  # fmt: skip
    named = tmp_path / "list.txt"
    named.write_text("b/003.png\n")
    assert names(made(tmp_path / "listed.h5", *two, lists=(f"test={named}",))[0])["test"] == ["b/003.png"]
    with pytest.raises(
        DataError, match=r"a\.csv: expected images in the lists, got none, such as a/000\.png; add them"
    ):
        read_records([*map(str, two)], [f"train={named}"], Prepare(**OPTIONS))


def test_files_of_one_folder_share_their_images(two: list[Path], tmp_path: Path) -> None:
    """An image is of the source of its first caption; without a second source, none is stored."""
    folder = two[0].parent
    (folder / "c.csv").write_text("image,caption\n003.png,another\n000.png,more\n")
    (folder / "b.csv").write_text(
        "image,caption,source\n001.png,a first one,x\n002.png,a second one, \n003.png,a third one,x\n"
    )
    shared = {"images": (folder,), "val": 0.0}
    train = made(tmp_path / "d.h5", folder / "b.csv", folder / "c.csv", two[0], **shared)[0].split("train")
    assert (train.image_ids, train.sources) == (["001.png", "003.png", "002.png", "000.png"], ["x", "x", "b", "c"])
    assert [len(train.caption_rows(image)) for image in range(4)] == [3, 4, 3, 3]
    rows = (f"00{number}.png,a caption,{source},train" for number, source in enumerate("xyx"))
    (folder / "d.csv").write_text("\n".join(["image,caption,source,split", *rows]))
    assert made(tmp_path / "d.h5", folder / "d.csv")[0].split("train").sources == ["x", "x", "y"]
    assert made(tmp_path / "one.h5", two[0], **shared)[0].split("train").sources is None


KARPATHY = {"images": [{"filename": "1", "sentences": [{"raw": "a"}], "source": " s "}]}
COCO = {"images": [{"id": 1, "file_name": "1", "source": "s"}], "annotations": [{"image_id": 1, "caption": "a"}]}


@pytest.mark.parametrize(
    "text",
    [
        "Source,image,caption\n s ,1,a",
        '{"image": "1", "caption": "a", "source": "s"}',
        *map(json.dumps, (KARPATHY, COCO)),
    ],
)
def test_the_field_source_is_read(text: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(text)
    (record,) = read_captions(tmp_path / "file")
    assert isinstance(record, CaptionRecord)
    assert (record.image, record.source) == ("1", "s")


def same_name(one: Path, two: Path) -> None:
    two.write_text(two.read_text().replace("split", "split,source").replace("train", "train,a"))


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (same_name, {}, "b.csv: a/000.png: two images of this source and name; rename one of the sources"),
        (None, {"images": ("x", "y", "z")}, "--images: expected one for all 2 caption files, or one for each, got 3"),
        (None, {"features": ("x", "y", "z")}, "--features: expected one for all 2 caption files, or one for each, "),
    ],
)  # fmt: skip
def test_sources_that_cannot_be_joined_are_refused(
    spoil: Callable[[Path, Path], None] | None, options: dict[str, Any], message: str, two: list[Path], tmp_path: Path
) -> None:
    if spoil:
        spoil(*two)
    with pytest.raises(CaptionerError) as caught:
        made(tmp_path / "both.h5", *two, **{name: tuple(map(Path, paths)) for name, paths in options.items()})
    assert message in str(caught.value)


def array_file(path: Path, features: np.ndarray, names: list[str] | None = None) -> Path:
    return feature_file(path.parent, features, names=names).rename(path)


@pytest.mark.parametrize("regions", [False, True])
def test_prepared_data_sets_are_joined_without_encoding(
    regions: bool, two: list[Path], tmp_path: Path, encoded: Counted
) -> None:
    """The result is that of the photographs; also from a data set of both, and from an array file and a data set."""
    whole, _ = made(tmp_path / "both.h5", *two, regions=regions)
    single = [tmp_path / f"{source.stem}.h5" for source in two]
    for source, output in zip(two, single, strict=True):
        made(output, source, regions=regions, min_count=2)
    encoded()
    for files in (single, [tmp_path / "both.h5"]):
        joined, _ = made(tmp_path / "joined.h5", *two, features=tuple(files), encoder=None, regions=regions)
        assert (joined.digest, joined.encoder, names(joined)) == (whole.digest, whole.encoder, names(whole))
        assert encoded() == 0
    if not regions:
        mixed = array_file(tmp_path / "mixed.h5", EXPECTED[:4]), single[1]
        assert made(tmp_path / "joined.h5", *two, features=mixed)[0].digest == whole.digest
        with pytest.raises(
            DataError, match=r"expected features of one encoder, got features:.*mixed.* and scenes-1 \("
        ):
            made(tmp_path / "joined.h5", *two, features=mixed, encoder=None)
        with pytest.raises(UsageError, match=r"a\.h5: is a file that this command reads"):
            made(single[0], *two, features=tuple(single), encoder=None)
        with pytest.raises(DataError, match=r"a\.h5: expected image regions, got none; omit --regions"):
            made(tmp_path / "joined.h5", *two, features=tuple(single), encoder=None, regions=True)


def test_images_that_a_data_set_does_not_have_are_left_out(two: list[Path], tmp_path: Path) -> None:
    single = [made(tmp_path / f"{source.stem}.h5", source) and tmp_path / f"{source.stem}.h5" for source in two]
    two[1].write_text(two[1].read_text() + "\nnew.png,a new one,train\n")
    joined, events = made(tmp_path / "joined.h5", *two, features=tuple(single), encoder=None)
    assert "b/new.png" not in rows(joined)
    assert events[-1].summary["counts"]["missing"] == 1
    assert f"b/new.png: not found in {single[1]}" in map(str, events)
    with pytest.raises(
        DataError, match=r"a\.h5: expected features of 9 images, such as a/000\.png, got none"
    ):  # not b's
        made(tmp_path / "joined.h5", *two, features=(single[0],), encoder=None)
    two[1].write_text("image,caption,split\nnew.png,a new one,train\n")
    with pytest.raises(DataError, match=r"b\.h5: expected features of 1 images, such as new\.png, got none"):
        made(tmp_path / "joined.h5", two[1], features=(single[1],), encoder=None)


def test_a_source_may_have_no_valid_caption(two: list[Path], tmp_path: Path) -> None:
    two[1].write_text("image,caption\n000.png,\n")
    files = array_file(tmp_path / "x.h5", EXPECTED[:4]), array_file(tmp_path / "y.h5", EXPECTED[4:5])
    corpus, events = made(tmp_path / "both.h5", *two, features=files)
    assert corpus.split("train").sources is None
    assert events[-1].summary["counts"]["skipped"] == 1


def test_a_column_of_many_values_is_not_a_source(two: list[Path], tmp_path: Path) -> None:
    """Such as the URL of each photograph; a value that is no text is ignored."""
    lines = [f"{number % 4:03}.png,a {number},https://example.com/{number}" for number in range(MAX_SOURCES + 1)]
    two[0].write_text("\n".join(["image,caption,source", *lines]))
    corpus, _ = made(tmp_path / "both.h5", *two)
    assert set(corpus.split("train").sources or ()) == {"a", "b"}
    two[0].write_text('{"image": "000.png", "caption": "a", "source": {"url": "x"}}')
    (record,) = read_captions(two[0])
    assert isinstance(record, CaptionRecord)
    assert record.source is None


@pytest.mark.parametrize(
    ("header", "options"),
    [("source,caption", {"image_column": "source"}), ("image,source", {"caption_column": "source"}),
     ("image,caption,Source,SOURCE", {})],
)  # fmt: skip
def test_a_column_of_another_meaning_or_twice_is_not_a_source(
    header: str, options: dict[str, str], tmp_path: Path
) -> None:
    cells = ",x,y" * ("SOURCE" in header)
    lines = [header, *(f"{number}.png,a dog {number}{cells}" for number in range(6))]
    (tmp_path / "c.csv").write_text("\n".join(lines))
    assert {record.source for record in read_records([str(tmp_path / "c.csv")], [], Prepare(**options)).images} == {"c"}


def test_a_source_that_is_too_small_to_split_stays_in_train(two: list[Path], tmp_path: Path) -> None:
    """Images without a split of a source with splits are omitted, also if all its other images are unreadable."""
    two[1].write_text("image,caption\n000.png,a dog\n")
    splits = names(made(tmp_path / "both.h5", *two)[0])
    assert (splits["train"][-1], len(splits["val"])) == ("b/000.png", 1)
    two[0].write_text("image,caption,split\n000.png,a dog,train\n001.png,a dog,val\n")
    assert names(made(tmp_path / "both.h5", *two)[0]) == {"train": ["a/000.png", "b/000.png"], "val": ["a/001.png"]}
    two[1].write_text("image,caption,split\n000.png,a dog,train\n001.png,a dog,\n002.png,a dog,\n")
    (two[1].parent / "000.png").write_bytes(b"")
    corpus, events = made(tmp_path / "both.h5", *two)
    assert not any(image.startswith("b/") for images in names(corpus).values() for image in images)
    assert events[-1].summary["counts"]["omitted"] == 2


def test_sources_are_named_by_the_folders_that_distinguish_them() -> None:
    assert [*source_names(["garden/captions.csv", "kitchen/captions.csv", "d.json"]).values()] == [
        "garden",
        "kitchen",
        "d",
    ]
    assert [*source_names(["x/img/c.csv", "train=y/img/c.csv"]).values()] == ["x/img", "y/img"]
    assert [*source_names(["a.csv", "b/../b.tsv"]).values()] == ["a", "b"]
    assert [*source_names(["a.csv", "a.json"]).values()] == ["a", "a"]


def test_a_file_without_splits_is_split_at_random_beside_one_of_the_same_source(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("image,caption,split\n" + "".join(f"{n},a dog,train\n" for n in range(4)))
    (tmp_path / "c.jsonl").write_text("".join(f'{{"image": "{n}", "caption": "a"}}\n' for n in range(4, 24)))
    records = read_records([str(tmp_path / "c.csv"), str(tmp_path / "c.jsonl")], [], Prepare(val=0.1))
    assert {image.source for image in records.images} == {"c"}
    assert (len(records.splits["val"]), len(records.images)) == (2, 24)
    assert all(int(image.image) >= 4 for image in records.splits["val"])


def test_one_array_file_has_the_rows_of_all_sources(two: list[Path], tmp_path: Path) -> None:
    """By their names in the data set: images of different folders with the same name are different images."""
    two[1].write_text("image,caption,split\n007.png,a dog,train\n000.png,a cat,train\n")
    images = [*(f"a/{number:03}.png" for number in range(4)), "b/007.png", "b/000.png"]
    files = (array_file(tmp_path / "x.h5", np.arange(6, dtype=np.float32)[:, None], images),)
    corpus, _ = made(tmp_path / "both.h5", *two, features=files, encoder=None, val=0.0)
    assert {name: row[0] for name, row in features_by_name(corpus).items()} == {
        name: row for row, name in enumerate(images)
    }


def test_a_list_has_the_names_in_the_folder_of_a_source(two: list[Path], tmp_path: Path) -> None:
    for place, source in enumerate(two):
        (source.parent / f"sub{place}").mkdir()
        (source.parent / "000.png").rename(source.parent / f"sub{place}" / "000.png")
        source.write_text(source.read_text().replace("000.png", f"sub{place}/000.png"))
    (tmp_path / "val.txt").write_text("sub1/000.png\n")
    assert names(made(tmp_path / "o.h5", *two, lists=(f"test={tmp_path}/val.txt",))[0])["test"] == ["b/sub1/000.png"]


def test_a_report_shows_the_photograph_of_the_source(two: list[Path], tmp_path: Path) -> None:
    """The name without its source may be that of another photograph."""
    made(tmp_path / "both.h5", *two)
    (two[0].parent / "001.png").unlink()
    corpus = prepared(tmp_path / "both.h5")
    row = corpus.split("val").image_ids.index("b/001.png")
    assert pictures_of_split(corpus, "val", two[1].parent)(row) is None
    (tmp_path / "all").mkdir()
    for source in two:
        (tmp_path / "all" / source.stem).symlink_to(source.parent)
    assert pictures_of_split(corpus, "val", tmp_path / "all")(row) == tmp_path / "all" / "b" / "001.png"


def test_sources_of_few_images_are_split_together(tmp_path: Path) -> None:
    """Not one image of each into val."""
    lines = [f"{number},a caption,{number // 2}" for number in range(2 * MAX_SOURCES)]
    (tmp_path / "c.csv").write_text("\n".join(["image,caption,source", *lines]))
    records = read_records([str(tmp_path / "c.csv")], [], Prepare(val=0.1))
    assert len(records.splits["val"]) == MAX_SOURCES * 2 // 10
    assert [int(record.image) for record in records.splits["train"]] == sorted(
        int(record.image) for record in records.splits["train"]
    )


def test_the_names_of_a_joined_data_set_are_not_those_of_one_folder(two: list[Path], tmp_path: Path) -> None:
    """With a folder called like its source, a/000.png is 000.png of the source a, and also a name in its folder."""
    (two[0].parent / "a").mkdir()
    (two[0].parent / "001.png").rename(two[0].parent / "a" / "000.png")
    two[0].write_text(two[0].read_text().replace("001.png", "a/000.png"))
    whole, _ = made(tmp_path / "both.h5", *two)
    copy = (tmp_path / "both.h5").rename(tmp_path / "other.h5")
    (tmp_path / "both.h5").write_bytes(copy.read_bytes())
    joined, _ = made(tmp_path / "joined.h5", *two, features=(tmp_path / "both.h5", copy), encoder=None)
    assert rows(joined) == rows(whole)
