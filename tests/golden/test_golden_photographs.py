"""Photographs: captions of the packaged model, a data set, and an album from the first caption to its exports."""

import csv
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import captioner

Golden = Callable[[str], None]
Run = Callable[..., Any]

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 30), "blue": (30, 30, 220), "white": (240, 240, 240)}
PREPARE = ("prepare", "photos/captions.csv", "--encoder", "scenes", "--min-count", "1", "--output", "data.h5")


@pytest.fixture
def _photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve pictures of a square in `photos`, three of them in a subfolder, and a table with two captions of each."""
    monkeypatch.chdir(tmp_path)
    Path("photos/sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    with open("photos/captions.csv", "w") as table:
        print("image,caption", file=table)
        for number in range(12):
            (colour, rgb), name = [*COLOURS.items()][number % 4], f"{'sub/' if number > 8 else ''}{number:02}.png"
            y, x = rng.integers(4, 40, 2)
            picture = np.full((64, 64, 3), 90, np.uint8)
            picture[y : y + 20, x : x + 20] = rgb
            Image.fromarray(picture).save(Path("photos", name))
            print(f"{name},a {colour} square\n{name},a box that is {colour}", file=table)


def test_captions_of_photographs(cli: Run, golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    """Captions, marks and keywords of the packaged model."""
    monkeypatch.chdir(Path(__file__).parents[2] / "docs")
    done = cli("caption", "photos", "--album", "none", "--json")
    assert done.code == 0
    text = ""
    for record in map(json.loads, done.out.splitlines()):
        keywords = "".join(f"; {each['word']} {each['share']:.2f}" for each in record["keywords"])
        text += f"{record['image']}: {record['caption']}{''.join(f' [{mark}]' for mark in record['marks'])}\n"
        text += f"  {record['log_prob']:.1f}{keywords}\n"
    golden(text + done.err)


def masked(text: str) -> str:
    """Mask the formats that Pillow supports."""
    return re.sub(r"\(JPEG[\w, ]*\)", "(JPEG, #)", text)


@pytest.mark.smoke
@pytest.mark.usefixtures("_photos")
def test_prepare(cli: Run, golden: Golden) -> None:
    """The summary of a data set, and what is reported of lines and photographs that cannot be used."""
    done = cli(*PREPARE, "--val", "0.25")
    assert done.code == 0
    assert sorted(os.listdir()) == ["data.h5", "photos"]
    os.remove("data.h5")
    os.remove("photos/01.png")
    Path("photos/02.png").write_bytes(b"no photograph")
    shutil.copy("photos/00.png", "photos/03.png")
    Path("val.txt").write_text("03.png\n")
    with open("photos/captions.csv", "a") as table:
        table.write('04.png,\n05.png,a dog,more\n"06\n\x1b[2J.png",a dog\n')
    problems = cli(*PREPARE, "--list", "val=val.txt", "--max-length", 3, "--val", 0)
    assert problems.code == 1
    golden(masked(done.err + done.out + problems.err + problems.out))


def correct(cli: Run, table: str, corrections: dict[str, dict[str, str]]) -> None:
    """Replace cells of a table as a person does, and let the album take them."""
    with open(table, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row.update(corrections.get(row["image"], {}))
    with open(table, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
    assert cli("album").code == 0


@pytest.mark.usefixtures("_photos")
def test_album(cli: Run, golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    """Photographs are captioned, corrected, renamed, exported as table, page and XMP, and found."""
    monkeypatch.setenv("CAPTIONER_ALBUM", "a.db")
    assert cli(*PREPARE, "--val", "0.25").code == 0
    options = {"model.dtype": "float64", "model.hidden_dim": 32, "model.wordvec_dim": 16, "threads": 1}
    training = {"train.batch_size": 8, "train.learning_rate": 0.01, "train.epochs": 60}
    captioner.train(None, "run", {"data.source": "prepared", "data.root": "data.h5"} | options | training)
    os.remove("photos/captions.csv")
    first = cli("caption", "photos", "--model", "run", "--write", "table.csv", "--write", "xmp")
    corrections = {"photos/00.png": {"caption": "Anna in Brunate"}, "photos/05.png": {"keywords": "barn, door"}}
    correct(cli, "table.csv", corrections)
    os.rename("photos", "renamed")
    files = [word for file in ("again.csv", "page.html", "xmp") for word in ("--write", file)]
    again = cli("caption", "renamed", "--model", "run", *files)
    assert (first.code, again.code) == (0, 0)
    text = first.err + again.err + Path("again.csv").read_text(encoding="utf-8")
    (page,) = re.findall(r'<script id="album".*?</script>', Path("page.html").read_text(), re.DOTALL)
    text += re.sub(r"\d\.\d{4}", lambda share: f"{float(share[0]):.2f}", page) + "\n"  # of a regression in float32
    for name in ("00", "05", "sub/09"):
        text += Path(f"renamed/{name}.png.xmp").read_text(encoding="utf-8")
    found = "".join(
        f"search {words}\n{cli('search', *words.split()).out}" for words in ("brunate", "door", "red square")
    )
    golden(re.sub(r'"p[0-9a-f]{32}-[^"]*"', '"ID"', text.replace(str(Path.cwd()), "HERE")) + found)
