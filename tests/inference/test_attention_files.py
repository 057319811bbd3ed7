"""Files of attention maps: their names and contents, and what is kept when writing fails."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.errors import CaptionerError, UsageError
from captioner.inference.attention_files import AttentionFiles, check_folder
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
    file = AttentionFiles(tmp_path / "new" / "maps", "scenes-1").write(caption)
    assert file == tmp_path / "new/maps/val-00000.attention.json"
    record = json.loads(file.read_text())
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


def test_existing_files_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.attention.json").write_text("precious")
    (tmp_path / "b.attention.json").symlink_to("not/yet/there")
    maps = AttentionFiles(tmp_path, "e")
    assert [maps.write(caption_of(name)) is None for name in ("a.jpg", "b.jpg", "c.jpg")] == [True, True, False]
    assert (maps.kept, maps.written) == (2, 1)
    assert (tmp_path / "a.attention.json").read_text() == "precious"
    assert names(tmp_path) == ["a.attention.json", "b.attention.json", "c.attention.json"]
    again = AttentionFiles(tmp_path, "e", overwrite=True)
    again.write(caption_of("a.jpg"))
    assert json.loads((tmp_path / "a.attention.json").read_text())["image"] == "a.jpg"


def test_images_of_one_name_have_different_files(tmp_path: Path) -> None:
    maps, images = AttentionFiles(tmp_path, "e"), ["cats/a.jpg", "dogs/a.jpg", "a.png", "A.JPG", "dogs/a"]
    files = [maps.write(caption_of(image)) for image in images]
    assert [json.loads(file.read_text())["image"] for file in files] == images
    assert len({str(file).casefold() for file in files}) == 5
    assert files[0].name == "a.attention.json"
    assert maps.write(caption_of("dogs/a.jpg")) == files[1], "a photograph may be given twice"
    assert maps.written == 5


UNSAFE = ["..", "", "../../etc/passwd", "a\nb.png", "\x1b[2J.png", "con.png", "nul", " a ", ".hidden.png", "a:b.jpg",
          "\udcff.png", "猫" * 80, "a" * 300, "x/" * 90 + "y.png", 'q"?.png']  # fmt: skip


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_an_earlier_command_are_not_those_of_another_image(tmp_path: Path, overwrite: bool) -> None:
    first = AttentionFiles(tmp_path, "e").write(caption_of("one/a.jpg"))
    assert first is not None
    content = first.read_bytes()
    second = AttentionFiles(tmp_path, "e", overwrite).write(caption_of("two/a.jpg"))
    assert second is not None
    assert first.read_bytes() == content
    assert json.loads(second.read_text())["image"] == "two/a.jpg"
    again = AttentionFiles(tmp_path, "e", overwrite)
    assert again.write(caption_of("two/a.jpg")) == (second if overwrite else None)
    assert len(names(tmp_path)) == 2


def test_unsafe_names_are_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "maps"
    maps = AttentionFiles(folder, "e")
    for image in UNSAFE:
        file = maps.write(caption_of(image))
        assert file.parent == folder
        assert printable(file.name) == file.name
        assert json.loads(file.read_text())["image"] == image
    assert len(names(folder)) == len(UNSAFE)
    assert names(tmp_path) == ["maps"]


def test_the_first_failure_is_reported_and_written_files_are_kept(
    tmp_path: Path, files_of_at_most: Callable[[int], Any]
) -> None:
    maps = AttentionFiles(tmp_path, "e")
    maps.write(caption_of("a"))
    with files_of_at_most(100):
        with pytest.raises(CaptionerError) as caught:
            maps.write(caption_of("b"))
        assert maps.write(caption_of("c")) is None
    reason = "cannot write: File too large; no further attention maps are written"
    assert str(caught.value) == f"{tmp_path}/b.attention.json: {reason}"
    assert names(tmp_path) == ["a.attention.json"]
    assert maps.written == 1


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CaptionerError, match=r"file/maps/a\.attention\.json: cannot write: Not a directory; no"):
        AttentionFiles(tmp_path / "file" / "maps", "e").write(caption_of("a"))
    with pytest.raises(UsageError, match=r"file: expected a folder for attention maps, got a file; name another"):
        check_folder(tmp_path / "file")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(UsageError, match=r"link: expected a folder for attention maps"):
        check_folder(tmp_path / "link")
    check_folder(tmp_path)
    check_folder(tmp_path / "new" / "folder")
    assert names(tmp_path) == ["file", "link"]


def test_temporary_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".a.attention.json.999999999.tmp").touch()
    AttentionFiles(tmp_path, "e").write(caption_of("a"))
    assert names(tmp_path) == ["a.attention.json"]


def test_a_caption_without_words(tmp_path: Path) -> None:
    file = AttentionFiles(tmp_path, "e").write(caption_of("a", ""))
    assert json.loads(file.read_text())["weights"] == []
