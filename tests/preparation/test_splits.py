"""Captions by image, images by split: an image is in one split alone, however splits come about."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.data.caption_readers import CaptionRecord
from captioner.errors import DataError
from captioner.preparation.image_records import group_by_image
from captioner.preparation.splits import ImageRecord, group_by_split, split_by_lists, split_randomly

NAMES = st.lists(st.text(st.characters(min_codepoint=48, max_codepoint=122), min_size=1), min_size=8, unique=True)


def record(image, split=None, number=1):
    return CaptionRecord(image, f"caption {number}", split, f"c.csv:{number}")


def pictures(names, split=None):
    return [ImageRecord(name, split) for name in names]


def splits_of(images):
    return {image.image: image.split for image in images}


# --- gather


def test_a_second_split_of_an_image_is_an_issue():
    splits = [("a", "train"), ("a", "val"), ("a", None), ("b", None), ("b", "val")]
    images, issues = group_by_image(record(image, split, n) for n, (image, split) in enumerate(splits, 1))
    assert splits_of(images) == {"a": "train", "b": None}
    assert [len(image.captions) for image in images] == [1, 1]
    assert list(map(str, issues)) == [
        "c.csv:2: a: expected split train as before, got val; skipped",
        "c.csv:3: a: expected split train as before, got none; skipped",
        "c.csv:5: b: expected split none as before, got val; skipped",
    ]


# --- draw


def test_a_positive_fraction_gets_at_least_one_image():
    assigned = split_randomly(pictures("abc"), {"val": 0.01, "test": 0.01}, 0)
    assert list(group_by_split(assigned)) == ["train", "val", "test"]
    assert {image.split for image in split_randomly(pictures("a"), {"val": 0.0, "test": 0.0}, 0)} == {"train"}


@pytest.mark.parametrize(
    ("count", "shares", "wanted"),
    [
        (1, {"val": 0.1, "test": 0.0}, "1 for val"),
        (2, {"val": 0.1, "test": 0.1}, "1 for val and 1 for test"),
        (2000, {"val": 0.6, "test": 0.5}, "1,200 for val and 1,000 for test"),
        (10, {"val": 0.99}, "10 for val"),
    ],
)
def test_train_must_not_be_empty(count, shares, wanted):
    with pytest.raises(DataError) as caught:
        split_randomly(pictures(map(str, range(count))), shares, 0)
    assert str(caught.value) == (
        f"expected images for train in addition to {wanted}, got {count:,} in total; "
        "add images, or lower --val and --test, to 0 for no such split"
    )


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.data(), NAMES, st.integers(0, 5))
def test_a_random_split_depends_only_on_seed_and_names(data, names, seed):
    shares = {"val": 0.3, "test": 0.2}
    drawn = splits_of(split_randomly(pictures(names), shares, seed))
    assert drawn == splits_of(split_randomly(pictures(data.draw(st.permutations(names))), shares, seed))
    assert {"train", "val", "test"} == set(drawn.values())


# --- lists


def test_lists_name_images_with_more_or_fewer_folders():
    """Never an image in another folder, of this or of another source."""
    images = [*pictures(["x/a.jpg", "b.jpg", "p/y/e.jpg"]), *pictures(["x/c.jpg", "d.jpg"], "test")]
    lists = {"train": ["a.jpg", "q/b.jpg", "y/e.jpg"], "val": ["y/c.jpg", "/p/x/c.jpg"]}
    assigned, issues = split_by_lists(images, lists)
    assert splits_of(assigned) == {
        "x/a.jpg": "train", "b.jpg": "train", "p/y/e.jpg": "train", "x/c.jpg": "val", "d.jpg": "test"
    }  # fmt: skip
    assert list(map(str, issues)) == ["list of val, image 1: y/c.jpg: no image of this name in the caption files"]
    assert splits_of(images)["x/a.jpg"] is None


def test_a_whole_name_comes_before_one_without_its_folder():
    assigned, issues = split_by_lists(pictures(["x/a.jpg", "a.jpg"]), {"val": ["a.jpg", "y/a.jpg"]})
    assert splits_of(assigned) == {"x/a.jpg": None, "a.jpg": "val"}
    assert list(map(str, issues)) == ["list of val, image 2: y/a.jpg: ambiguous name: matches a.jpg or x/a.jpg"]


def test_missing_ambiguous_and_repeated_names_are_issues():
    images = pictures(["x/a.jpg", "y/a.jpg", "z/a.jpg", "b.jpg"])
    assigned, issues = split_by_lists(
        images,
        {"train": ["a.jpg", "b.jpg", "b.jpg", "x/a.jpg", "w/a.jpg"], "val": ["c.jpg", "b.jpg", "d.jpg", "y/e.jpg"]},
        skipped=["x/d.jpg", "e.jpg"],
    )
    assert splits_of(assigned) == {"x/a.jpg": "train", "y/a.jpg": None, "z/a.jpg": None, "b.jpg": "train"}
    assert list(map(str, issues)) == [
        "list of train, image 1: a.jpg: ambiguous name: matches x/a.jpg or y/a.jpg",
        "list of train, image 5: w/a.jpg: no image of this name in the caption files",
        "list of val, image 1: c.jpg: no image of this name in the caption files",
        "list of val, image 2: b.jpg: is also in the list of train",
        "list of val, image 3: d.jpg: its captions are skipped",
        "list of val, image 4: y/e.jpg: its captions are skipped",
    ]


def test_splits_are_ordered_train_val_test():
    order = ["zoo", "test", "val", "train", "art", "test"]
    images = [ImageRecord(str(row), split) for row, split in enumerate(order)]
    images.append(ImageRecord("out", None))
    assert [(split, [int(image.image) for image in members]) for split, members in group_by_split(images).items()] == [
        ("train", [3]), ("val", [2]), ("test", [1, 5]), ("art", [4]), ("zoo", [0])
    ]  # fmt: skip
