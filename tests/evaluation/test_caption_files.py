"""Caption files and reference files are read, and captions are matched to the images by ids and by names."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.errors import DataError
from captioner.evaluation.caption_files import (
    match_images,
    number_in_name,
    read_caption_file,
    read_references,
)


def test_results_are_read(tmp_path: Path) -> None:
    path, images = tmp_path / "results.json", ["a/b.jpg", "COCO_000000000007.jpg"]
    path.write_text('\ufeff[{"image_id": "a/b.jpg", "caption": "a «dog»"},\n{"image_id": 7, "caption": ""}]\n')
    assert read_caption_file(path) == {"a/b.jpg": "a «dog»", 7: ""}
    assert match_images(read_caption_file(path), path, images, {images[1]: 7}) == ["a «dog»", ""]
    path.write_bytes(b"\x89HDF")
    with pytest.raises(DataError, match=r"expected UTF-8 text, got .* at byte 0 of an HDF5 file"):
        read_caption_file(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("image,caption\na,b,c\n", r":2: expected 2 columns, got 3; quote captions that contain ','"),
        ('"image";"caption"\na;b\na;c', ":3: duplicate image 'a'; expected one caption per image"),
        ("picture,caption\na,b\n", "expected JSON, .* or a table with the columns image and caption, got other text"),
        ("{", "got other text"),
        pytest.param("[" * 100_000, "got other text", id="nested"),
        ('"a"', r"expected a list of {\"image_id\", \"caption\"}, or JSON lines as `captioner sample"),
        ('{"image": "a", "caption": "b"}\n\n{"image": 3, "caption": "b"}', ":3: expected an object with image_id"),
        ('{"image": "a", "caption": "b"}\r\nx', ":2: expected JSON, as `captioner sample --json`"),
        ('{"image": "a", "caption": "b"}\n{"image": "a", "caption": "c"}', ":2: duplicate image 'a'; expected one"),
        ('[{"image_id": true, "caption": "a"}]', r"\[0\]: expected an object"),
        ('[{"image_id": 1, "caption": null}]', r"\[0\]: expected an object"),
        ('{"image": "a", "candidates": ["a dog"]}', ":1: expected an object"),
        (r'[{"image_id": 1, "caption": "\ud800"}]', r"\[0\]: caption: expected UTF-8 text, got"),
        ('[{"image_id": 1, "caption": "a"}, {"image_id": 1, "caption": "b"}]', r"\[1\]: duplicate image 1"),
    ],
)
def test_malformed_results_are_rejected(content: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(DataError, match=problem) as caught:
        read_caption_file(path)
    assert str(caught.value).startswith(str(path))


def test_a_table_is_read_as_spreadsheets_save_it(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    for text in (
        '\ufeff"image","caption","log_prob"\r\n"\'-1.jpg","a dog",-1.5\r\n"b.jpg","",-2\r\n',
        "image;caption;log_prob\n'-1.jpg;a dog;-1,5\nb.jpg;;-2\n",
        "Caption\tImage\na dog\t'-1.jpg\n\tb.jpg\n",
    ):
        path.write_text(text, encoding="utf-8", newline="")
        assert read_caption_file(path) == {"-1.jpg": "a dog", "b.jpg": ""}


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_coco_annotations_have_numeric_ids(tmp_path: Path) -> None:
    captions = ((20, "a dog"), (30, "A cat."), (20, "dogs"))
    content = {
        "images": [{"id": 30, "file_name": "x.jpg"}, {"id": 20, "file_name": "COCO_val_000000000030.jpg"}],
        "annotations": [{"image_id": image, "caption": text} for image, text in captions],
    }
    path = write(tmp_path / "captions_val2014.json", content)
    references, numbers = read_references(path, None)
    assert references.images == ["COCO_val_000000000030.jpg", "x.jpg"]
    assert references.references == [["a dog", "dogs"], ["A cat."]]
    assert match_images({20: "two", 30: "one"}, path, references.images, numbers) == ["two", "one"]
    assert match_images({20: "two", "x.jpg": "one"}, path, references.images, numbers) == ["two", "one"]
    with pytest.raises(DataError, match=r"json: 30 and 'x.jpg' both match x.jpg"):
        match_images({30: "one", "x.jpg": "two"}, path, references.images, numbers)
    assert read_references(path, "val")[0] == references
    with pytest.raises(DataError, match="expected captions of split test, got val"):
        read_references(path, "test")
    content["images"][0]["file_name"] = content["images"][1]["file_name"]
    with pytest.raises(DataError, match=r"images\[1\]: COCO_.*: a second image of this name; skipped"):
        read_references(write(path, content), None)


def test_karpathy_splits_ids_and_folders(tmp_path: Path) -> None:
    common = {"filepath": "v", "sentences": [{"raw": "a"}]}
    images = [
        {**common, "filename": f"{n}.jpg", "split": split, "imgid": n, "cocoid": 100 + n}
        for n, split in enumerate(("restval", "val", "val"))
    ]
    path = write(tmp_path / "dataset.json", {"images": images})
    references, numbers = read_references(path, "val")
    assert references.images == ["v/1.jpg", "v/2.jpg"]
    for names in ((101, 102), ("1.jpg", "v/2.jpg"), ("v\\1.jpg", 102)):
        assert match_images(dict(zip(names, "ab", strict=True)), path, references.images, numbers) == ["a", "b"]
    assert read_references(path, "train")[0].images == ["v/0.jpg"]


def test_a_number_is_that_of_coco_or_else_the_one_in_the_name(tmp_path: Path) -> None:
    """An imgid, which counts the images of one file, identifies none."""
    images = [{"filename": f"{n:012}.jpg", "imgid": 9 - n, "sentences": [{"raw": "a"}]} for n in (3, 4)]
    images[1]["cocoid"] = 77
    path = write(tmp_path / "dataset.json", {"images": images})
    references, numbers = read_references(path, None)
    assert match_images({3: "a", 77: "b"}, path, references.images, numbers) == ["a", "b"]
    for wrong in (6, 5, 4):
        with pytest.raises(DataError, match=f"image {wrong}: expected one of the 2 images of the references"):
            match_images({3: "a", wrong: "b"}, path, references.images, numbers)


def test_a_table_has_no_numeric_ids_and_errors_are_reported_with_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    path.write_text("image,caption\na.jpg,a dog\na.jpg,dogs\nb.jpg,a cat\n")
    references, numbers = read_references(path, None)
    assert (references.references, numbers) == ([["a dog", "dogs"], ["a cat"]], {"a.jpg": None, "b.jpg": None})
    path.write_text("image,caption\na.jpg,a dog\na.jpg,\n")
    with pytest.raises(DataError, match=r"captions.csv:3: caption: expected text"):
        read_references(path, None)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("COCO_val2014_000000391895.jpg", 391895),
        ("val2017/000000000139.jpg", 139),
        ("139", 139),
        ("9" * 18, 10**18 - 1),
        *((name, None) for name in ("0139", "1000268201_693b08cb0e.jpg", "1234567890123.jpg", "val-00006", "١٢")),
        *((digits, None) for digits in ("0" + "9" * 18, "9" * 19, "9" * 4_301, "9" * 50_000)),
    ],
    ids=lambda value: str(value)[:30],
)
def test_the_number_in_a_name_is_that_of_coco_or_the_whole_name(image: str, expected: int | None) -> None:
    assert number_in_name(image) == expected


def test_images_and_captions_match_one_to_one() -> None:
    images, where = ["a/x.jpg", "b/x.jpg", "b/y.jpg"], Path("results.json")
    every = {"a/x.jpg": "1", "b/x.jpg": "2", "y.jpg": "3"}
    assert match_images(every, where, images, {}) == ["1", "2", "3"]
    with pytest.raises(DataError, match=r"^results.json: image 'c/y.jpg': expected one of the 3 images"):
        match_images({**every, "c/y.jpg": "4"}, where, images, {})
    with pytest.raises(DataError, match=r"^results.json: 'x.jpg' matches a/x.jpg and b/x.jpg; name the images with"):
        match_images({**every, "x.jpg": "4"}, where, images, {})
    with pytest.raises(DataError, match=r"^results.json: 'y.jpg' and 'b/y.jpg' both match b/y.jpg"):
        match_images({**every, "b/y.jpg": "4"}, where, images, {})
    del every["b/x.jpg"]
    with pytest.raises(DataError, match="expected one caption for each of 3 images, 1 missing, such as b/x"):
        match_images(every, where, images, {})


FOLDER = st.text("ab", min_size=1, max_size=2)


@given(
    names=st.sets(FOLDER, min_size=1, max_size=5),
    folder=st.lists(FOLDER, max_size=3),
    base=st.lists(FOLDER, max_size=2),
)
def test_captions_match_whichever_side_has_more_folders(names: set[str], folder: list[str], base: list[str]) -> None:
    images = ["/".join([*base, name]) for name in sorted(names)]
    for prefix in ("/".join([*folder, ""]), ""):
        captions = {prefix + image: image for image in reversed(images)}
        assert match_images(captions, Path("x"), images, {}) == images
    assert match_images(dict(zip(sorted(names), images, strict=True)), Path("x"), images, {}) == images
