"""References are read from COCO, Karpathy and table files, with numeric image ids if the file has them."""

import json
from pathlib import Path
from typing import Any

import pytest

from captioner.errors import DataError
from captioner.evaluation.image_ids import match
from captioner.evaluation.references import read_references


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


@pytest.mark.parametrize("name", [3, None, ["a.jpg"], {"a": 1}, 1.5, True])
def test_an_image_with_a_non_string_file_name_has_no_numeric_id(name: object, tmp_path: Path) -> None:
    image = {"filename": "a.jpg", "split": "val", "imgid": 0, "file_name": name, "sentences": [{"raw": "a dog"}]}
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"images": [image]}))
    task, numbers = read_references(path, "val")
    assert (task.images, numbers) == (["a.jpg"], {})
