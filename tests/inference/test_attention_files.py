"""Files of attention maps: their names and contents, and what is kept when writing fails."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from captioner.errors import CaptionerError, UsageError
from captioner.inference.attention_files import AttentionFiles, MapFiles, check_folder, no_picture, photograph
from captioner.inference.caption import Attention, Caption
from captioner.printable import printable


def caption_of(image: object, words: str = "a red cross") -> Caption:
    own = words.split()
    weights = np.random.default_rng(0).dirichlet(np.ones(7), len(own)).astype(np.float32)
    return Caption(str(image), words, -1.0, [], None, [], Attention(own, weights, (2, 3)))


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_the_json_file_has_the_weights_as_grids(tmp_path: Path) -> None:
    caption = caption_of("val-00000")
    files = AttentionFiles(tmp_path / "new" / "maps", no_picture, "scenes-1").write(caption)
    assert files == MapFiles(*(tmp_path / f"new/maps/val-00000.attention.{kind}" for kind in ("png", "json")))
    record = json.loads(files.weights.read_text())
    weights, sentinel = np.array(record.pop("weights")), np.array(record.pop("sentinel"))
    assert record == {
        "image": "val-00000",
        "caption": "a red cross",
        "words": ["a", "red", "cross"],
        "encoder": "scenes-1",
        "grid": [2, 3],
    }
    np.testing.assert_allclose(weights, caption.attention.maps, atol=1e-6)
    np.testing.assert_allclose(sentinel, caption.attention.sentinel, atol=1e-6)
    np.testing.assert_allclose(weights.sum(axis=(1, 2)) + sentinel, 1, atol=1e-5)
    with Image.open(files.picture) as picture:
        assert picture.format == "PNG"


def test_a_photograph_is_in_the_picture(tmp_path: Path) -> None:
    def red(picture: Any) -> int:
        files = AttentionFiles(tmp_path, picture, "e", overwrite=True).write(caption_of(tmp_path / "a.png"))
        with Image.open(files.picture) as page:
            return int((np.asarray(page) == (200, 0, 0)).all(axis=2).sum())

    Image.new("RGB", (300, 200), (200, 0, 0)).save(tmp_path / "a.png")
    assert red(photograph) >= 180**2
    assert red(lambda *_: np.full((64, 64, 3), (200, 0, 0), np.uint8)) >= 180**2
    assert red(no_picture) == 0
    (tmp_path / "a.png").write_bytes(b"not a photograph")
    assert red(photograph) == 0


def test_a_missing_picture_is_counted(tmp_path: Path) -> None:
    maps = AttentionFiles(
        tmp_path, lambda number, caption: [None, Path("none.png"), np.zeros((9, 9, 3), "u1")][number], "e"
    )
    for name in "abc":
        maps.write(caption_of(name))
    assert (maps.written, maps.without_picture, maps.kept) == (3, 2, 0)


def test_existing_files_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.attention.json").write_text("precious")
    (tmp_path / "b.attention.png").symlink_to("not/yet/there")
    maps = AttentionFiles(tmp_path, no_picture, "e")
    assert [maps.write(caption_of(name)) is None for name in ("a.jpg", "b.jpg", "c.jpg")] == [True, True, False]
    assert (maps.kept, maps.written) == (2, 1)
    assert (tmp_path / "a.attention.json").read_text() == "precious"
    assert names(tmp_path) == [
        "a.attention.json", "b.attention.png", "c.attention.json", "c.attention.png"
    ]  # fmt: skip
    again = AttentionFiles(tmp_path, no_picture, "e", overwrite=True)
    again.write(caption_of("a.jpg"))
    assert json.loads((tmp_path / "a.attention.json").read_text())["image"] == "a.jpg"


def test_photographs_in_the_folder_are_not_replaced(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    AttentionFiles(tmp_path, photograph, "e", overwrite=True).write(caption_of(tmp_path / "a.png"))
    assert (tmp_path / "a.png").read_bytes() == content


def test_images_of_one_name_have_different_files(tmp_path: Path) -> None:
    maps, images = AttentionFiles(tmp_path, no_picture, "e"), ["cats/a.jpg", "dogs/a.jpg", "a.png", "A.JPG", "dogs/a"]
    files = [maps.write(caption_of(image)) for image in images]
    assert [json.loads(one.weights.read_text())["image"] for one in files] == images
    assert len({str(path).casefold() for one in files for path in one}) == 10
    assert files[0].picture.name == "a.attention.png"
    assert maps.write(caption_of("dogs/a.jpg")) == files[1], "a photograph may be given twice"
    assert maps.written == 5


UNSAFE = ["..", "", "../../etc/passwd", "a\nb.png", "\x1b[2J.png", "con.png", "nul", " a ", ".hidden.png", "a:b.jpg",
          "\udcff.png", "猫" * 80, "a" * 300, "x/" * 90 + "y.png", 'q"?.png']  # fmt: skip


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_an_earlier_command_are_not_those_of_another_image(tmp_path: Path, overwrite: bool) -> None:
    first = AttentionFiles(tmp_path, no_picture, "e").write(caption_of("one/a.jpg"))
    assert first is not None
    content = first.weights.read_bytes()
    second = AttentionFiles(tmp_path, no_picture, "e", overwrite).write(caption_of("two/a.jpg"))
    assert second is not None
    assert first.weights.read_bytes() == content
    assert json.loads(second.weights.read_text())["image"] == "two/a.jpg"
    again = AttentionFiles(tmp_path, no_picture, "e", overwrite)
    assert again.write(caption_of("two/a.jpg")) == (second if overwrite else None)
    assert len(names(tmp_path)) == 4


def test_unsafe_names_are_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "maps"
    maps = AttentionFiles(folder, no_picture, "e")
    for image in UNSAFE:
        files = maps.write(caption_of(image))
        assert files.picture.parent == folder
        assert printable(files.picture.name) == files.picture.name
        assert json.loads(files.weights.read_text())["image"] == image
    assert len(names(folder)) == 2 * len(UNSAFE)
    assert names(tmp_path) == ["maps"]


def test_the_first_failure_is_reported_and_written_files_are_kept(
    tmp_path: Path, files_of_at_most: Callable[[int], Any]
) -> None:
    maps = AttentionFiles(tmp_path, no_picture, "e")
    maps.write(caption_of("a"))
    with files_of_at_most(300):
        with pytest.raises(CaptionerError) as caught:
            maps.write(caption_of("b"))
        assert maps.write(caption_of("c")) is None
    reason = "cannot write: File too large; no further attention maps are written"
    assert str(caught.value) == f"{tmp_path}/b.attention.png: {reason}"
    assert names(tmp_path) == ["a.attention.json", "a.attention.png"]
    assert maps.written == 1


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CaptionerError, match=r"file/maps/a\.attention\.png: cannot write: Not a directory; no further"):
        AttentionFiles(tmp_path / "file" / "maps", no_picture, "e").write(caption_of("a"))
    with pytest.raises(UsageError, match=r"file: expected a folder for attention maps, got a file; name another"):
        check_folder(tmp_path / "file")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(UsageError, match=r"link: expected a folder for attention maps"):
        check_folder(tmp_path / "link")
    check_folder(tmp_path)
    check_folder(tmp_path / "new" / "folder")
    assert names(tmp_path) == ["file", "link"]


def test_temporary_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".a.attention.png.999999999.tmp").touch()
    AttentionFiles(tmp_path, no_picture, "e").write(caption_of("a"))
    assert names(tmp_path) == ["a.attention.json", "a.attention.png"]


def test_a_caption_without_words(tmp_path: Path) -> None:
    files = AttentionFiles(tmp_path, no_picture, "e").write(caption_of("a", ""))
    assert json.loads(files.weights.read_text())["weights"] == []
