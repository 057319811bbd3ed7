"""The gallery: which images it shows, and what it keeps of names, captions and photographs."""

import base64
import dataclasses
import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from captioner.captioning.caption import Attention
from captioner.captioning.captioner import Captioner
from captioner.captioning.load import open_corpus, open_run
from captioner.report.gallery import (
    MAX_NAME,
    MAX_TEXT,
    SIDE,
    Gallery,
    Scored,
    WordMap,
    build_gallery,
    choose,
    embed,
    pictures_of_split,
    shown_name,
    shown_text,
    visibility,
    word_maps,
)

SCORES = np.random.default_rng(0).permutation(100) / 100


@pytest.mark.parametrize("count", [1, 2, 3, 7, 24, 99])
def test_the_best_the_worst_and_some_between(count: int) -> None:
    chosen = choose(SCORES, count)
    scores = [scored.cider for scored in chosen.values()]
    assert len(chosen) == count
    assert scores == sorted(scores, reverse=True)
    assert [SCORES[number] for number in chosen] == scores
    assert max(scores) == 0.99
    assert min(scores) == 0 or count == 1
    marks = [scored.mark for scored in chosen.values()]
    ends = count // 3
    assert marks[:ends] == ["best"] * ends
    assert marks[count - ends :] == ["worst"] * ends
    assert scores[:ends] == pytest.approx([0.99 - rank / 100 for rank in range(ends)])


def test_all_images_of_a_small_split_are_shown() -> None:
    chosen = choose(np.array([0.5, 0.1, 0.9]), 24)
    assert [(number, scored.mark) for number, scored in chosen.items()] == [(2, "best"), (0, ""), (1, "worst")]
    assert choose(np.array([0.5]), 24) == {0: Scored(0.5, "")}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dogs/1.jpg", "dogs/1.jpg"),
        ("/home/someone/1.jpg", "1.jpg"),
        ("a\nb\x1b[31m\u202egpj.exe", "a\\nb\\x1b[31m\\u202egpj.exe"),
    ],
)
def test_names_have_no_machine_paths_and_no_controls(name: str, expected: str) -> None:
    assert shown_name(name) == expected


def test_huge_names_and_captions_are_shortened() -> None:
    assert len(shown_name("x" * 1_000_000)) == MAX_NAME
    assert len(shown_text("x" * 1_000_000)) == MAX_TEXT
    assert shown_text("a  dog\n runs\u2028") == "a dog runs"


def gallery(run: Path, images: Path | None = None) -> Gallery:
    captioner = Captioner(open_run(run, {"caption.n_best": 3}))
    corpus = open_corpus(captioner.loaded)
    pictures = pictures_of_split(corpus, "val", images)
    chosen = {1: Scored(0.5, "best"), 0: Scored(0.25, "worst")}
    return build_gallery(captioner, corpus, "val", pictures, chosen)


def test_an_entry_has_the_captions_of_the_model(tiny_run: Path) -> None:
    shown = gallery(tiny_run)
    captioner = Captioner(open_run(tiny_run))
    corpus = open_corpus(captioner.loaded)
    split = corpus.split("val")
    expected = list(captioner.decode(split.features, rows=np.arange(2)))
    for entry, row in zip(shown.entries, (1, 0), strict=True):
        caption = entry.caption
        assert (entry.row, caption.image) == (row, f"val-0000{row}")
        assert (caption.text, caption.log_prob) == pytest.approx(expected[row].candidates[0], abs=1e-5)
        assert caption.references == split.references(row, corpus.vocab)
        assert len(caption.candidates) == 3
        assert entry.picture is not None
        assert (entry.picture.width, entry.words) == (64, [])
    assert (shown.total, shown.missing) == (10, 0)


def test_an_unreadable_photograph_is_missing(photo_run: Path, tmp_path: Path) -> None:
    for photo in (photo_run.parent / "photos").glob("*.png"):
        (tmp_path / photo.name).write_text("no photograph")
    assert gallery(photo_run, tmp_path).missing == 2


def test_files_outside_the_folder_are_not_shown(photo_run: Path, tmp_path: Path) -> None:
    """Image names of an untrusted data set must not embed other files: pages are shared."""
    folder, private = (Path(shutil.copytree(photo_run.parent / "photos", tmp_path / name)) for name in ("a", "private"))
    (folder / "deep").mkdir()
    corpus = open_corpus(open_run(photo_run))
    whole = corpus.split("val")
    photo = f"hidden-{whole.image_ids[0]}"  # the folder has no photograph of this name
    (private / whole.image_ids[0]).rename(private / photo)
    out = os.path.relpath(private / photo, folder)
    for name in (f"{private}/{photo}", out, f"deep/../{out}", f"{folder}/{out}", "../" * 30 + "etc/passwd"):
        ids = [name, *whole.image_ids[1:]]
        hostile = dataclasses.replace(corpus, splits={"val": dataclasses.replace(whole, image_ids=ids)})
        assert pictures_of_split(hostile, "val", folder)(0) is None, name
    assert pictures_of_split(corpus, "val", folder / "deep" / "..")(0) is not None


# --- pictures and attention


def decoded(uri: str) -> Image.Image:
    kind, _, data = uri.partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    assert kind == f"data:image/{(image.format or '').lower()}"
    return image


def test_pixels_are_embedded_losslessly() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)
    embedded = embed(pixels, SIDE, is_square=False)
    assert embedded is not None
    np.testing.assert_array_equal(np.asarray(decoded(embedded.uri)), pixels)
    assert (embedded.width, embedded.height) == (6, 8)


@pytest.mark.parametrize(
    ("size", "expected"), [((1600, 1200), (320, 240)), ((100, 50), (100, 50)), ((1, 6000), (1, 320))]
)
def test_large_photographs_are_scaled_down(tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]) -> None:
    Image.new("RGB", size, (200, 0, 0)).save(tmp_path / "a.png")
    embedded = embed(tmp_path / "a.png", SIDE, is_square=False)
    assert embedded is not None
    image = decoded(embedded.uri)
    assert image.size == expected == (embedded.width, embedded.height)
    assert image.convert("RGB").getpixel((0, 0))[0] > 190  # type: ignore[index]


def hidden(word: WordMap) -> NDArray[np.float64]:
    """How much of each region the picture of a word hides."""
    return np.asarray(decoded(word.veil))[..., 1] / 255


def test_the_picture_is_the_map() -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(7 * 5 + 1) / 5, 6)
    attention = Attention(["a", "dog", "runs", "x" * 99, "\u202edog", "."], weights, (7, 5))
    maps = word_maps(attention)
    for word, grid, sentinel in zip(maps, attention.maps, attention.sentinel, strict=True):
        np.testing.assert_allclose(hidden(word), 1 - visibility(grid, sentinel), atol=0.51 / 255)
        assert grid[word.row, word.column] == grid.max() == word.strongest
        assert word.sentinel == sentinel
    assert [word.word for word in maps][:3] == ["a", "dog", "runs"]
    assert len(maps[3].word) == 40
    assert maps[4].word == "\\u202edog"


def test_a_word_of_the_sentinel_hides_everything() -> None:
    (word,) = word_maps(Attention(["of"], np.array([[0.0, 0, 0, 0, 1]]), (2, 2)))
    assert hidden(word).min() > 0.8
