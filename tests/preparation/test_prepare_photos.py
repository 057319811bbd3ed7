"""Photographs that are missing or damaged are reported, and the others are prepared."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from preparing import COUNT, EXPECTED, events_of, features_by_name, made, refusal

from captioner.captioning.find_checkpoint import DEFAULT_MODEL
from captioner.captioning.load import open_run
from captioner.config.options import ENCODER, PHOTO_SIDE
from captioner.data.prepared import prepared
from captioner.errors import DataError
from captioner.photos.recipes import open_encoder
from captioner.preparation.image_folders import REMEDY, ImageFolder, find_all, locate_photos

pytestmark = pytest.mark.filterwarnings("ignore:features are stored in float32")  # so few photographs hardly differ


def test_no_readable_photograph_is_an_error(photos: Path) -> None:
    empty = photos / "empty"
    empty.mkdir()
    assert refusal(photos, images=empty) == (
        f"{empty}: expected photographs, found none of 8, such as 000.png; set their folder with --images"
    )
    for index in range(COUNT):
        (photos / f"{index:03}.png").write_bytes(b"no photograph")
    assert refusal(photos) == f"{photos}: expected photographs, got no readable one"


def test_no_photograph_in_train_is_an_error(photos: Path) -> None:
    (photos / "train.txt").write_text("000.png\n")
    (photos / "val.txt").write_text("001.png\n")
    (photos / "000.png").unlink()
    message = refusal(photos, val=0.0, lists=[f"{split}={photos / split}.txt" for split in ("train", "val")])
    assert message == "expected images in the split train, got none with a readable photograph"


def test_a_split_without_photographs_is_omitted(photos: Path) -> None:
    (photos / "val.txt").write_text("001.png\n")
    (photos / "001.png").unlink()
    corpus, _ = made(photos, val=0.0, lists=[f"val={photos / 'val.txt'}"])
    assert list(corpus.splits) == ["train"]


def find_photo(folder: Path, name: str) -> Path | None:
    return find_all(folder, [name])[name]


def test_names_match_regardless_of_case_and_unicode_form(tmp_path: Path) -> None:
    composed, apart = "caf\u00e9.jpg", "cafe\u0301.jpg"
    places = ["DSC01.JPG", apart, "Cats/b.png", "c.jpg", "C.jpg", "D.jpg", "both/E.jpg", "both/e.JPG"]
    for place in places:
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).touch()
    expected = {
        "dsc01.jpg": "DSC01.JPG",
        composed: apart,
        "cats/B": "Cats/b.png",
        "c.jpg": "c.jpg",
        "C.JPG": None,  # two are alike
        "D.jpg": "D.jpg",
        "d.jpg": None,  # it is that of another name
        "both/e.jpg": None,
        "../D.jpg.": None,
    }
    paths = {name: place and tmp_path / place for name, place in expected.items()}
    assert find_all(tmp_path, list(expected)) == paths


PLACES = {
    "a.png": ["a.png"],
    "below/a.png": ["below/a.png"],
    "train2014/a.png": ["a.png"],
    "a": ["a.png", "a.jpeg", "a.jpg"],
    "below/b": ["b.jpeg", "below/b.jpg"],
    "A.PNG": ["A.PNG"],
    "猫 \udcff\n.jpg": ["猫 \udcff\n.jpg"],
    "a.b.c": ["a.b.c"],
}


@pytest.mark.parametrize("name", PLACES)
def test_names_are_resolved_to_photographs(name: str, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    assert find_photo(tmp_path, name) is None
    for place in PLACES[name]:
        (tmp_path / place).touch()
        assert find_photo(tmp_path, name) == tmp_path / place


@pytest.mark.parametrize("name", ["", ".", "..", "/", "//", "a" * 5000, "a/" * 200, "a\0b", "below", "~", "\udcff"])
def test_unmatched_names_are_reported(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, Path(), Path("/"), Path("no")):
        assert find_photo(folder, name) is None


def test_names_that_lead_outside_the_folder_are_not_followed(tmp_path: Path) -> None:
    """A caption file may be untrusted, and its data set shared."""
    folder, secret = tmp_path / "photos", tmp_path / "secret.png"
    (folder / "sub").mkdir(parents=True)
    inside = folder / "a.png"
    for file in (secret, inside, tmp_path / "a.png"):
        file.touch()
    outside = ["../secret.png", str(secret), "sub/../../secret.png", "sub/../../secret"]
    names = ["a.png", str(inside), *outside]
    photos, errors = locate_photos(ImageFolder(folder, None, images={name: name for name in names}), names)
    assert list(photos) == names[:2]
    assert {path.resolve() for path in photos.values()} == {inside}
    remedy = f"outside the folder of photographs {folder}; set a folder that contains it with --images"
    assert [str(errors[name]) for name in outside[:3]] == [f"{name}: {remedy}" for name in outside[:3]]
    assert find_photo(folder, "../a.png") is None, "it is not the photograph of this name in the folder"


def test_an_absolute_name_may_be_that_of_a_copy_in_the_folder(tmp_path: Path) -> None:
    inside, outside, link = tmp_path / "in" / "a.png", tmp_path / "out" / "a.png", tmp_path / "link"
    for file in (inside, outside):
        file.parent.mkdir()
        file.touch()
    link.symlink_to(inside.parent)
    assert find_photo(inside.parent, str(outside)) == inside
    assert find_photo(inside.parent, str(outside.with_suffix(""))) == inside
    outside.unlink()
    assert find_photo(inside.parent, str(outside)) == inside
    assert find_photo(link, str(inside)) == link / "a.png"


def test_two_names_cannot_share_one_photograph(photos: Path) -> None:
    (photos / "cats").mkdir()
    (photos / "cats" / "000.png").write_bytes((photos / "003.png").read_bytes())
    names = ["cats/000.png", "dogs/000.png", "x/001.png", "y/001.png", "z/002.png", "004.png", "cats/004.png"]
    places = ["cats/000.png", None, None, None, "002.png", "004.png", None]
    expected = {name: place and photos / place for name, place in zip(names, places, strict=True)}
    assert find_all(photos, [*names, "dogs/004"]) == {**expected, "dogs/004": None}
    assert find_all(photos, names[1:2]) == {"dogs/000.png": photos / "000.png"}
    assert find_photo(photos, "/old/cats/000.png") == photos / "cats" / "000.png", "not 000.png"
    (photos / "captions.csv").write_text("image,caption\n" + "".join(f"{name},a dog\n" for name in names))
    corpus, events = made(photos, val=0)
    assert [str(event) for event in events if isinstance(event, DataError)] == [
        f"{photos / name}: photograph not found; {REMEDY}" for name, place in expected.items() if place is None
    ]
    np.testing.assert_allclose(features_by_name(corpus)["cats/000.png"], EXPECTED[3], atol=2e-3)


@pytest.mark.parametrize("other", ["dogs/000.png,,train", "dogs/000.png,a dog,", "dogs/000.png,?,val"])
def test_a_skipped_image_keeps_its_photograph(other: str, photos: Path) -> None:
    """A lone 000.png may be its photograph, whether or not the image is in the data set."""
    (photos / "s.csv").write_text(f"image,caption,split\ncats/000.png,a cat,train\n{other}\n001.png,dogs,train\n")
    (*_, last) = events_of(photos / "s.csv", photos.parent / "out.h5", val=0.0)
    assert prepared(photos.parent / "out.h5").split("train").image_ids == ["001.png"]
    assert last.summary["counts"]["missing"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(("size", "side"), [((40, 90), 40), ((300, 64), 64), ((300, 200), 64)])
def test_the_size_of_the_photographs_is_that_of_the_model(
    photos: Path, size: tuple[int, int], side: int, cli: Callable[..., Any], tmp_path: Path
) -> None:
    for photo in photos.glob("*.png"):
        Image.open(photo).resize(size).save(photo)
    corpus, _ = made(photos)
    assert corpus.photo_side == side, "at most the input of the encoder"
    copy, _ = made(
        photos, features=shutil.copy(photos.parent / "out.h5", tmp_path / "f.h5"), encoder=None, overwrite=True
    )
    assert copy.photo_side == side
    cli("train", "--data", photos.parent / "out.h5", "--run", tmp_path / "run", "-o", "train.max_steps=1")
    assert open_run(tmp_path / "run").meta.photo_side == side


@pytest.mark.slow
def test_the_default_encoder_shrinks_photographs_to_the_size_of_those_of_the_default_model(photos: Path) -> None:
    side, encoder = open_run(DEFAULT_MODEL).meta.photo_side, open_encoder(ENCODER)
    assert side == PHOTO_SIDE < encoder.side
    large = Image.open(photos / "000.png").resize((400, 300))
    shrunk = large.resize((round(400 * side / 300), side), Image.Resampling.BICUBIC)
    large.save(photos / "000.png")
    shrunk.save(photos / "001.png")
    corpus, _ = made(photos, encoder=None)
    features = features_by_name(corpus)
    expected, _ = encoder.encode(encoder.prepare(shrunk))
    for name in ("000.png", "001.png"):
        np.testing.assert_array_equal(features[name], expected.astype(features[name].dtype))
