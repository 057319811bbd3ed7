"""captioner report."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioner.errors import install_command

FEW = "captioner: warning: 10 images; confidence intervals from fewer than 30 images are unreliable\n"


def rows(page: str) -> dict[str, list[str]]:
    """The first table row of each title."""
    cells_by_title: dict[str, list[str]] = {}
    for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL):
        title, *cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
        cells_by_title.setdefault(title, cells)
    return cells_by_title


@pytest.mark.smoke
def test_the_scores_are_those_of_evaluate(tiny_run: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    path = tmp_path / "report.html"
    done = cli("report", tiny_run, "--output", path)
    assert (done.code, done.out, done.err) == (0, "", f"{FEW}{path}: written\n")
    page = path.read_text()
    scores = json.loads(cli("evaluate", tiny_run, "--json").out)
    table = rows(page)
    for title, key in (("BLEU-4", "bleu4"), ("CIDEr-D", "cider_d")):
        low, high = scores["intervals"][key]
        assert table[title] == [f"{100 * scores[key]:.1f}  ({100 * low:.1f} to {100 * high:.1f})"]
    assert table["perplexity"] == [f"{scores['perplexity']:.2f}"]
    assert table["val"][:2] == ["10", "50"]
    assert page.count('<li class="entry"') == 10
    assert "hidden_dim: 16" in page
    assert "training: step" not in page


def test_training_images_have_the_captions_that_are_scored(
    tiny_run: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    """With guidance, those without the image's own references."""
    path, values = tmp_path / "report.html", ("beam_width=3", "guidance_weight=4", "similarity_weight=10")
    options = "--split", "train", *(f"--set=decode.{value}" for value in values)
    assert cli("report", tiny_run, "--output", path, "-n", "40", *options).code == 0
    shown = re.findall(r'data-name="(.*?)".*?<h3 [^>]*>(.*?)</h3>', path.read_text(), re.DOTALL)
    records = map(json.loads, cli("sample", tiny_run, "--json", *options).out.splitlines())
    captions = {record["image"]: record["caption"] for record in records}
    assert len(captions) == 40
    assert dict(shown) == captions


def test_the_page_has_no_paths_and_names_of_the_machine(
    photo_run: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    path = tmp_path / "report.html"
    assert cli("report", photo_run, "--output", path, "--images", photo_run.parent / "photos").code == 0
    page = path.read_text()
    assert page.count("data:image/jpeg") == 2
    for part in (*photo_run.parent.parts[1:], os.uname().nodename, os.path.expanduser("~")):
        assert not re.search(rf"\b{re.escape(part)}\b", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)), part


def test_photographs_are_named_if_they_are_not_found(photo_run: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    done = cli("report", photo_run, "--output", tmp_path / "report.html")
    assert done.code == 0
    lost = "captioner: 2 of 2 photographs not found or unreadable; set their folder with --images, such as --images "
    assert f"{lost}{photo_run.parent / 'photos'}\n" in done.err
    page = (tmp_path / "report.html").read_text()
    assert "no picture" in page
    assert "Data set: prepared; image features of " in page
    assert re.search(r"\b00\d\.png\b", page)


def test_another_data_set_is_named_by_its_file(photo_run: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    shutil.copy(photo_run.parent / "data.h5", tmp_path / "<b>.h5")
    done = cli("report", photo_run, "--output", tmp_path / "report.html", "--data", tmp_path / "<b>.h5")
    assert done.code == 0
    assert "Data set: &lt;b&gt;.h5; image features of " in (tmp_path / "report.html").read_text()


def test_options_of_decoding_and_the_number_of_images(tiny_run: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    path = tmp_path / "report.html"
    options = ("-n", "3", "--n-best", "2", "-o", "decode.beam_width=3", "--overwrite")
    path.write_text("<!doctype html>old")
    assert cli("report", tiny_run, "--output", path, *options).code == 0
    page = path.read_text()
    assert page.count('<li class="entry"') == 3
    assert page.count("2 candidates") == 3
    assert "beam search of width 3" in page
    larger = tmp_path / "larger.html"
    assert cli("report", tiny_run, "--output", larger).code == 0
    assert larger.stat().st_size - path.stat().st_size > 7 * 5_000, "images are most of a page"


MISTAKES = {
    "run --output new.html -o train.epochs=3": "train.epochs has no effect on report",
    "run --output new.html --split nowhere": "split 'nowhere': not found; this data set has train, val, test, heldout",
    "run --output new.html --images none": "none: folder not found",
    "run --output mine.html": "mine.html: exists already; use another file, or replace it with --overwrite",
    "run --output run/best.h5 --overwrite": "run/best.h5: expected an HTML page to replace, got",
}


@pytest.mark.parametrize("command", MISTAKES)
def test_mistakes(command: str, own_run: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own_run.parent)
    Path("photos").mkdir()
    Path("photos", "a.png").write_text("mine")
    Path("mine.html").touch()
    files = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    done = cli("report", *command.split())
    assert (done.code, done.out) == (1 if "nowhere" in command else 2, "")
    assert done.err.startswith(f"captioner: {MISTAKES[command]}")
    assert done.err.count("\n") == 1
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == files


@pytest.mark.parametrize("library", ["jinja2", "PIL"])
def test_a_report_needs_its_libraries(
    library: str, cli: Callable[..., Any], tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("page", "gallery", "template"):
        monkeypatch.delitem(sys.modules, f"captioner.report.{name}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    done = cli("report", tiny_run, "--output", tmp_path / "report.html")
    done.failed(2, install_command("report"))
    assert f"needs {library}" in done.err
    assert not (tmp_path / "report.html").exists()


def test_a_run_in_training_has_a_report(own_run: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    """Its history is ahead of its checkpoint, and ends with half a line."""
    with open(own_run / "history.jsonl", "a") as file:
        file.write('{"kind": "step", "step": 9, "epoch": 3, "word_loss": 1.5}\n{"kind": "st')
    done = cli("report", own_run, "--output", tmp_path / "report.html")
    assert done.err == f"{FEW}{tmp_path / 'report.html'}: written\n"
    assert "training steps: 9 (3 epochs)" in (tmp_path / "report.html").read_text()
