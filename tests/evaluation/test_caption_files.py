"""COCO results files are read, written and matched to the images of a reference file."""

import json
from pathlib import Path
from typing import Any

import pytest

from captioner.errors import DataError, UsageError
from captioner.evaluation.caption_files import image_id, match, read_references, read_results, write_results


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("COCO_val2014_000000391895.jpg", 391895),
        ("val2017/000000000139.jpg", 139),
        ("139", 139),
        ("0139", "0139"),
        ("1000268201_693b08cb0e.jpg", "1000268201_693b08cb0e.jpg"),
        ("1234567890123.jpg", "1234567890123.jpg"),
        ("val-00006", "val-00006"),
        ("١٢", "١٢"),
    ],
)
def test_image_id_is_the_coco_id_in_the_name_or_the_name(image: str, expected: int | str) -> None:
    assert image_id(image) == expected


def test_results_round_trip(tmp_path: Path) -> None:
    path, images = tmp_path / "results.json", ["a/b.jpg", "COCO_000000000007.jpg"]
    write_results(path, images, ["a «dog»", ""])
    assert json.loads(path.read_text())[1] == {"image_id": 7, "caption": ""}
    assert read_results(path) == {"a/b.jpg": "a «dog»", 7: ""}
    assert match(read_results(path), path, images, {}) == ["a «dog»", ""]
    with pytest.raises(DataError, match="expected unique image ids, got 7 twice"):
        write_results(tmp_path / "new.json", ["7", "000000000007.png"], ["a", "b"])
    with pytest.raises(UsageError, match="folder not found"):
        write_results(tmp_path / "none" / "results.json", images, ["a", "b"])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "expected JSON, got something else"),
        ('{"a": 1}', r'expected a list of {"image_id", "caption"}, got {\'a\': 1}'),
        ("[3]", r"\[0\]: expected an object with image_id and caption, got 3"),
        ('[{"image_id": true, "caption": "a"}]', r"\[0\]: expected an object"),
        ('[{"image_id": 1, "caption": null}]', r"\[0\]: expected an object"),
        (r'[{"image_id": 1, "caption": "\ud800"}]', r"\[0\]: caption: expected UTF-8 text, got"),
        ('[{"image_id": 1, "caption": "a"}, {"image_id": 1, "caption": "b"}]', r"\[1\]: duplicate image_id 1"),
    ],
)
def test_malformed_results_are_rejected(content: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(DataError, match=problem) as caught:
        read_results(path)
    assert str(caught.value).startswith(str(path))


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_coco_annotations_have_numeric_ids(tmp_path: Path) -> None:
    path = write(
        tmp_path / "captions_val2014.json",
        {
            "images": [{"id": 30, "file_name": "x.jpg"}, {"id": 20, "file_name": "COCO_val_000000000030.jpg"}],
            "annotations": [
                {"image_id": 20, "caption": "a dog"},
                {"image_id": 30, "caption": "A cat."},
                {"image_id": 20, "caption": "dogs"},
            ],
        },
    )
    task, numbers = read_references(path, None)
    assert task.images == ["COCO_val_000000000030.jpg", "x.jpg"]
    assert task.references == [["a dog", "dogs"], ["A cat."]]
    assert match({20: "two", 30: "one"}, path, task.images, numbers) == ["two", "one"]
    assert match({20: "two", "x.jpg": "one"}, path, task.images, numbers) == ["two", "one"]
    assert read_references(path, "val")[0] == task
    with pytest.raises(DataError, match="expected captions of split test, got val"):
        read_references(path, "test")


def test_karpathy_splits_ids_and_folders(tmp_path: Path) -> None:
    images = [
        {
            "filepath": "v",
            "filename": f"{n}.jpg",
            "split": split,
            "imgid": n,
            "cocoid": 100 + n,
            "sentences": [{"raw": "a"}],
        }
        for n, split in enumerate(("restval", "val", "val"))
    ]
    path = write(tmp_path / "dataset.json", {"images": images})
    task, numbers = read_references(path, "val")
    assert task.images == ["v/1.jpg", "v/2.jpg"]
    for names in ((101, 102), ("1.jpg", "v/2.jpg"), ("v\\1.jpg", 102)):
        assert match(dict(zip(names, "ab", strict=True)), path, task.images, numbers) == ["a", "b"]
    assert read_references(path, "train")[0].images == ["v/0.jpg"]


def test_a_table_has_no_numeric_ids_and_errors_are_reported_with_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    path.write_text("image,caption\na.jpg,a dog\na.jpg,dogs\nb.jpg,a cat\n")
    task, numbers = read_references(path, None)
    assert (task.references, numbers) == ([["a dog", "dogs"], ["a cat"]], {})
    path.write_text("image,caption\na.jpg,a dog\na.jpg,\n")
    with pytest.raises(DataError, match=r"captions.csv:3: caption: expected text"):
        read_references(path, None)


def test_images_and_captions_match_one_to_one() -> None:
    images, where = ["a/x.jpg", "b/x.jpg", "b/y.jpg"], Path("results.json")
    every = {"a/x.jpg": "1", "b/x.jpg": "2", "y.jpg": "3"}
    assert match(every, where, images, {}) == ["1", "2", "3"]
    with pytest.raises(DataError, match=r"^results.json: image_id 'x.jpg': expected one of the 3 images"):
        match({**every, "x.jpg": "4"}, where, images, {})
    with pytest.raises(DataError, match=r"^results.json: image_id 'b/y.jpg': image b/y.jpg has two captions"):
        match({**every, "b/y.jpg": "4"}, where, images, {})
    del every["b/x.jpg"]
    with pytest.raises(DataError, match="expected one caption for each of 3 images, 1 missing, such as b/x"):
        match(every, where, images, {})


def test_overwrite_replaces_only_results(tmp_path: Path) -> None:
    path, other = tmp_path / "results.json", tmp_path / "last.h5"
    write_results(path, ["a"], ["one"])
    with pytest.raises(UsageError, match="exists already"):
        write_results(path, ["a"], ["two"])
    assert read_results(path) == {"a": "one"}
    write_results(path, ["a"], ["two"], overwrite=True)
    assert read_results(path) == {"a": "two"}
    other.write_bytes(b"\x89HDF")
    for place, message in ((other, "expected caption results to replace"), (tmp_path, "got a folder")):
        with pytest.raises(UsageError, match=message):
            write_results(place, ["a"], ["one"], overwrite=True)
    assert other.read_bytes() == b"\x89HDF"


@pytest.mark.parametrize("digits", [18, 19, 4_300, 4_301, 50_000])
def test_a_long_digit_string_is_a_name(digits: int) -> None:
    name = "9" * digits
    assert image_id(name) == (int(name) if digits == 18 else name)
    assert image_id(f"0{name}") == f"0{name}"


@pytest.mark.parametrize("name", [3, None, ["a.jpg"], {"a": 1}, 1.5, True])
def test_an_image_with_a_non_string_file_name_has_no_numeric_id(name: object, tmp_path: Path) -> None:
    image = {"filename": "a.jpg", "split": "val", "imgid": 0, "file_name": name, "sentences": [{"raw": "a dog"}]}
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"images": [image]}))
    task, numbers = read_references(path, "val")
    assert (task.images, numbers) == (["a.jpg"], {})
