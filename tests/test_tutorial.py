"""The tutorial docs/own-photos.md as printed: 30 photographs with captions in own words, and the default model."""

import csv
import io
import itertools
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
from pages import ROOT, page_commands
from PIL import Image

CAPTIONS = {
    "astronaut": "aunt Eileen in her orange suit",
    "camera": "uncle Bert films in the park",
    "chelsea": "rex sleeps on grandma 's red sofa",
    "china": "Onkel Bert besucht die Pagode",
    "coffee": "grandma 's espresso in the kitchen",
    "flower": "a dahlia in grandma 's garden",
    "grace_hopper": "great-aunt Grace in uniform",
    "motorcycle": "uncle Bert 's moped",
    "rocket": "🚀 before aunt Eileen 's flight",
}
OWN_WORDS = {"rex", "grandma", "bert", "eileen"}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Crops of nine photographs: 30 in the folder `photos`, whose captions are returned, and the others in `new`."""
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "new"):
        Path(folder).mkdir()
    crops = list(itertools.product(range(4), CAPTIONS))
    for number, (corner, name) in enumerate(crops):
        left, top = 40 * (corner % 2), 40 * (corner // 2)
        with Image.open(ROOT / "docs" / "photos" / f"{name}.jpg") as photo:
            crop = photo.crop((left, top, left + 200, top + 200))
        crop.save(Path("photos" if number < 30 else "new", f"{number:02}.png"))
    return [CAPTIONS[name] for _, name in crops[:30]]


def correct(table: Path, captions: list[str]) -> None:
    """Replace the captions of a table, as in a spreadsheet."""
    rows = list(csv.DictReader(io.StringIO(table.read_text("utf-8-sig"), newline="")))
    with table.open("w", newline="", encoding="utf-8") as file:
        corrected = csv.DictWriter(file, rows[0])
        corrected.writeheader()
        corrected.writerows({**row, "caption": text} for row, text in zip(rows, captions, strict=True))


def test_the_tutorial_ends_with_a_model_of_own_words(
    own: list[str], shell: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    commands = [words[1:] for words in page_commands(ROOT / "docs" / "own-photos.md") if words[0] == "captioner"]
    tutorial = list(itertools.takewhile(lambda words: words[0] != "serve", commands))
    assert [words[0] for words in tutorial] == [
        *("caption", "prepare", "train", "caption", "export", "caption"),
    ]
    captioned: list[dict[str, Any]] = []
    for words in tutorial:
        as_json = ["--json"] if words[:2] == ["caption", "new/"] else []
        fewer = ["-otrain.epochs=1"] if words[0] == "train" else []
        done = shell(*words, *as_json, *fewer, timeout=600)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        if words[-1] == "photos/captions.csv" and words[0] == "caption":
            correct(Path(words[-1]), own)
        if words[0] == "prepare":
            assert "  images                          27           3\n" in done.stdout
        if words[0] == "train":
            assert "starts from " in done.stderr
            assert "; CIDEr-D " in done.stderr
        captioned += map(json.loads, done.stdout.splitlines()) if as_json else []
    assert [caption["image"] for caption in captioned] == 2 * [f"new/{number}.png" for number in range(30, 36)]
    assert all(caption["caption"] for caption in captioned)
    with h5py.File("mine.h5") as file:
        assert set(json.loads(file["meta"][()])["words"]) >= OWN_WORDS
