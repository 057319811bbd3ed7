"""The benchmark of recipes for few photographs: its subsets, its table and its options."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import few_photos
from benchmarks.report import marks
from captioner.config.yaml_io import load
from captioner.images.recipe import parse_recipe


def images() -> list[dict[str, Any]]:
    splits = ["train"] * 600 + ["val"] * 20 + ["test"] * 30
    return [{"filename": f"{number}.jpg", "split": split} for number, split in enumerate(splits)]


def test_a_subset_has_training_images_and_is_tested_on_validation_images() -> None:
    every = {image["filename"]: image["split"] for image in images()}
    drawn = few_photos.subset(images(), 0)
    names = {split: {image["filename"] for image in drawn if image["split"] == split} for split in every.values()}
    assert {split: len(some) for split, some in names.items()} == {"train": 261, "val": 29, "test": 20}
    assert {every[name] for name in names["train"] | names["val"]} == {"train"}
    assert {every[name] for name in names["test"]} == {"val"}
    assert not names["train"] & names["val"]


def test_a_subset_is_a_function_of_the_seed() -> None:
    assert few_photos.subset(images(), 1) == few_photos.subset(images(), 1) != few_photos.subset(images(), 2)


def test_the_table_has_means_and_half_ranges() -> None:
    many = [dict.fromkeys(few_photos.SCORES, value) for value in (0.1, 0.2, 0.6)]
    rows = few_photos.rows({few_photos.Recipe("richer", True, "photos"): many})
    assert rows == [("`richer`, `--regions`", "`photos`", "0.3 ±0.2", "30.0 ±25.0", "30.0 ±25.0")]
    of_model = few_photos.rows(
        {few_photos.Recipe("richer", False, None): [{**one, "perplexity": None} for one in many]}
    )
    assert of_model == [("`richer`", "`models/flickr8k`", "-", "30.0 ±25.0", "30.0 ±25.0")]


def test_the_page_has_the_marks_of_the_table() -> None:
    page = few_photos.PAGE.read_text()
    assert [page.count(mark) for mark in marks()] == [1, 1]


@pytest.mark.parametrize("recipe", few_photos.RECIPES)
def test_a_recipe_stores_the_regions_that_its_config_needs(recipe: few_photos.Recipe) -> None:
    parse_recipe(recipe.encoder)
    assert (load(Path(recipe.config or "photos")).model.attention != "none") == recipe.regions
