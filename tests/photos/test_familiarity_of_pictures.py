"""Familiarity of the shipped model: blank and drawn pictures are outside its training domain, photographs inside."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

import captioner
from captioner.arrays import Array
from captioner.captioning.captioner import Captioner

ROOT = Path(__file__).parents[2]
FLICKR8K = ROOT / "../shared/data/flickr8k"
WIDTH, HEIGHT = 400, 300
WORDS = "the quick brown fox jumps over the lazy dog and runs along the bank of the river until noon"


@pytest.fixture(scope="module")
def shipped() -> Captioner:
    return captioner.load(ROOT / "models" / "everyday.h5")


def page(draw: ImageDraw.ImageDraw) -> None:
    for line in range(20):
        draw.text((20, 10 + 14 * line), WORDS[line % 7 : line % 7 + 60], fill="black")


def pictures() -> Iterator[tuple[str, Image.Image]]:
    for name in ("black", "white", "red", "navy"):
        yield name, Image.new("RGB", (WIDTH, HEIGHT), name)
    for grey in (16, 128, 192):
        yield f"grey {grey}", Image.new("RGB", (WIDTH, HEIGHT), (grey, grey, grey))
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    page(ImageDraw.Draw(picture))
    yield "page", picture
    rng, shape = np.random.default_rng(0), (HEIGHT, WIDTH, 3)
    x, y = (array[..., None] for array in np.meshgrid(np.linspace(0, 1, WIDTH), np.linspace(0, 1, HEIGHT)))
    drawn: dict[str, Array] = {
        "uniform noise": rng.integers(0, 256, shape),
        "dark noise": rng.normal(20, 4, shape),
        "gradient of low contrast": 110 + 32 * x,
        "disc": 255 - 360 * np.hypot(x - 0.5, y - 0.5),
        "checkerboard": 255 * ((10 * x // 1 + 8 * y // 1) % 2),
    }
    for name, array in drawn.items():
        yield name, Image.fromarray((array + np.zeros(shape)).clip(0, 255).astype(np.uint8))


@pytest.mark.slow
def test_blank_and_drawn_pictures_are_marked(shipped: Captioner, cli: Callable[..., Any], tmp_path: Path) -> None:
    for name, picture in pictures():
        picture.save(tmp_path / f"{name}.png")
    captions = list(shipped.caption([tmp_path]))
    unmarked = [each for each in captions if "outside the training domain" not in each.marks]
    assert {Path(each.image).stem: each.familiarity for each in unmarked} == {}
    lines = cli("caption", *tmp_path.glob("grey 1*.png")).out.splitlines()
    marks = [line.rpartition("\t")[2] for line in sorted(lines)]
    assert sorted(marks) == sorted(
        ", ".join(each.marks) for each in captions if Path(each.image).name.startswith("grey 1")
    )


@pytest.mark.slow
@pytest.mark.skipif(not FLICKR8K.is_dir(), reason="needs validation photographs of Flickr8k")
def test_at_most_a_tenth_of_the_validation_photographs_is_marked(shipped: Captioner) -> None:
    images = json.loads((FLICKR8K / "dataset_flickr8k.json").read_text())["images"]
    photos = [FLICKR8K / "images" / image["filename"] for image in images if image["split"] == "val"][:300]
    marks = ["outside the training domain" in each.marks for each in shipped.caption(photos)]
    assert len(marks) == 300
    assert 0 < sum(marks) <= 30
