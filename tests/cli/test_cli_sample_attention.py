"""captioner sample: attention maps as JSON lines or a page, of the images of a split."""

import base64
import dataclasses
import io
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from captioner.captioning.load import open_corpus
from captioner.errors import install_command

SHORT = ("-o", "decode.min_length=2", "-o", "decode.max_length=3")


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def records(file: str = "maps.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(file).read_text().splitlines()]


@pytest.mark.smoke
def test_the_records_have_the_maps_of_the_first_candidates(cli: Callable[..., Any], attention_run: Path) -> None:
    command = ("sample", attention_run, "-n", 3, "--n-best", 2, "--json", *SHORT)
    plain = cli(*command).succeeded().out
    done = cli(*command, "--attention", "--write", "maps.jsonl")
    assert done.out == Path("maps.jsonl").read_text()
    for line, record in zip(plain.splitlines(), records(), strict=True):
        maps = record.pop("attention")
        assert record == json.loads(line)
        assert (maps["grid"], maps["words"]) == ([3, 3], record["candidates"][0]["caption"].split())
        weights = np.array(maps["weights"])
        assert weights.shape == (len(maps["words"]), 3, 3)
        np.testing.assert_allclose(weights.sum(axis=(1, 2)) + maps["sentinel"], 1, atol=1e-5)
    cli(*command, "--write", "maps.html", "--write", "plain.jsonl")
    assert Path("plain.jsonl").read_text() == plain, "a page alone adds no attention to the records"


@pytest.mark.parametrize("file", ["a.html", "a.jsonl"])
def test_a_failed_write_is_an_error_after_the_captions(
    file: str, cli: Callable[..., Any], attention_run: Path, files_of_at_most: Callable[[int], Any]
) -> None:
    plain = cli("sample", attention_run, *SHORT)
    with files_of_at_most(100):
        done = cli("sample", attention_run, "--write", file, *SHORT)
    assert done == (1, plain.out, f"captioner: {file}: cannot write: File too large\n")


def test_all_maps_are_written_after_the_reader_of_stdout_left(shell: Callable[..., Any], attention_run: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = shell("sample", attention_run, "--write", "maps.jsonl", *SHORT, stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "maps.jsonl: 10 captions written\n")
    assert len(records()) == 10


@pytest.mark.parametrize("library", ["jinja2", "PIL"])
def test_a_page_needs_its_libraries(
    library: str, cli: Callable[..., Any], attention_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "captioner.report.gallery", raising=False)
    monkeypatch.delitem(sys.modules, "captioner.report.template", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    done = cli("sample", attention_run, "--write", "maps.html")
    done.failed(2, install_command("report"))
    assert f"needs {library}" in done.err
    assert not Path("maps.html").exists()


# --- pages


def shades(page: Path) -> list[tuple[int, ...]]:
    """The mean colours of the photographs in a page, in its order."""
    sources = re.findall(r'<image id=[^>]* href="data:image/(?:jpeg|png);base64,([^"]+)"', page.read_text())
    images = [Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB") for data in sources]
    return [tuple(int(shade) for shade in np.asarray(image).mean(axis=(0, 1)).round(-1)) for image in images]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A red and a blue photograph of one name, in folders."""
    for name, colour in (("cats", (200, 0, 0)), ("dogs", (0, 0, 200))):
        (tmp_path / name).mkdir()
        Image.new("RGB", (90, 60), colour).save(tmp_path / name / "a.png")
    return tmp_path


def test_a_page_has_all_images_with_a_map_of_every_word(cli: Callable[..., Any], attention_run: Path) -> None:
    options = ("sample", attention_run, "-n", 3, "--json", *SHORT)
    plain = cli(*options)
    done = cli(*options, "--write", "maps.html")
    assert done == (0, plain.out, "maps.html: attention maps of 3 images written\n")
    page = Path("maps.html").read_text()
    words = [word for line in plain.out.splitlines() for word in json.loads(line)["caption"].split()]
    assert re.findall(r'aria-label="([^":]+): strongest region', page) == words
    assert [page.count('<li class="entry"'), len(shades(Path("maps.html")))] == [3, 3]
    assert "All 3 images. log p is the log-probability of the caption. The small pictures show" in page
    assert os.listdir(".") == ["maps.html"]


def test_a_page_is_bounded(cli: Callable[..., Any], attention_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioner.report.gallery.MAX_CAPTIONS", 2)
    for number, images in ((4, "the first 2 of 4 images"), (1, "1 image")):
        done = cli("sample", attention_run, "-n", number, "--write", "a.html", "--overwrite", *SHORT)
        assert (done.code, done.err) == (0, f"a.html: attention maps of {images} written\n")
        assert ("2 of 4 images. log p is" in Path("a.html").read_text()) == (number == 4)


def test_photographs_of_a_split_are_found_in_their_folder(
    cli: Callable[..., Any], attention_run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_photos(*args: Any) -> Any:
        corpus = open_corpus(*args)
        val = corpus.split("val")
        names = ["cats/a.png", "dogs/a.png", "../secret.png", *val.image_ids[3:]]
        splits = {"val": dataclasses.replace(val, picture=None, image_ids=names)}
        return dataclasses.replace(corpus, splits=splits, about={"images": "my photos"})

    monkeypatch.setattr("captioner.captioning.load.open_corpus", of_photos)
    Image.new("RGB", (90, 60), (0, 200, 0)).save(photos.parent / "secret.png")
    command = ("sample", attention_run, "-n", 4, "--write", "a.html", *SHORT)
    done = cli(*command, "--images", photos)
    lost = "photographs not found or unreadable; set their folder with --images"
    written = "a.html: attention maps of 4 images written\n"
    assert (done.code, done.err) == (0, f"{written}captioner: 2 of 4 {lost}\n")
    assert shades(photos / "a.html") == [(200, 0, 0), (0, 0, 200)]
    done = cli(*command, "--overwrite")
    assert (done.code, done.err) == (0, f"{written}captioner: 4 of 4 {lost}, such as --images 'my photos'\n")
    cli(*command, "--overwrite", "--images", "no").failed(
        2, "no: folder not found; set the folder of the photographs with --images"
    )
