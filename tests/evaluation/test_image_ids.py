"""Captions are matched to images by COCO's ids and by names, with or without folders."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.errors import DataError
from captioner.evaluation.image_ids import image_id, match


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


def test_images_and_captions_match_one_to_one() -> None:
    images, where = ["a/x.jpg", "b/x.jpg", "b/y.jpg"], Path("results.json")
    every = {"a/x.jpg": "1", "b/x.jpg": "2", "y.jpg": "3"}
    assert match(every, where, images, {}) == ["1", "2", "3"]
    with pytest.raises(DataError, match=r"^results.json: image 'x.jpg': expected one of the 3 images"):
        match({**every, "x.jpg": "4"}, where, images, {})
    with pytest.raises(DataError, match=r"^results.json: image 'b/y.jpg': image b/y.jpg has two captions"):
        match({**every, "b/y.jpg": "4"}, where, images, {})
    del every["b/x.jpg"]
    with pytest.raises(DataError, match="expected one caption for each of 3 images, 1 missing, such as b/x"):
        match(every, where, images, {})


@pytest.mark.parametrize("digits", [18, 19, 4_300, 4_301, 50_000])
def test_a_long_digit_string_is_a_name(digits: int) -> None:
    name = "9" * digits
    assert image_id(name) == (int(name) if digits == 18 else name)
    assert image_id(f"0{name}") == f"0{name}"


def test_a_name_may_have_more_folders_than_the_references() -> None:
    images, where = ["x.jpg", "a/x.jpg", "a/y.jpg"], Path("captions.jsonl")
    captions = {"home/x.jpg": "1", "home/a/x.jpg": "2", "./home/a/y.jpg": "3"}
    assert match(captions, where, images, {}) == ["1", "2", "3"]
    with pytest.raises(DataError, match=r"^captions.jsonl: image 'b/y.jpg': expected one of the 3 images"):
        match({"b/y.jpg": "4"}, where, images, {})


FOLDER = st.text("ab", min_size=1, max_size=2)


@settings(deadline=None)
@given(
    names=st.sets(FOLDER, min_size=1, max_size=5),
    folder=st.lists(FOLDER, max_size=3),
    base=st.lists(FOLDER, max_size=2),
)
def test_captions_match_whichever_side_has_more_folders(names: set[str], folder: list[str], base: list[str]) -> None:
    images = ["/".join([*base, name]) for name in sorted(names)]
    for prefix in ("/".join([*folder, ""]), ""):
        captions = {prefix + image: image for image in reversed(images)}
        assert match(captions, Path("x"), images, {}) == images
    assert match(dict(zip(sorted(names), images, strict=True)), Path("x"), images, {}) == images
