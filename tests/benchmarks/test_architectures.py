"""The comparison of the decoders: the options of its rows, a small measurement, and the tables of its page."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import architectures
from benchmarks.architectures import CONFIG, DISTANCES, ROWS, Row

PAGE = architectures.PAGE.read_text()
FIGURES = json.loads(architectures.FIGURES.read_text())


def test_the_page_has_the_tables() -> None:
    assert FIGURES["rows"].keys() == FIGURES["seconds"].keys() == ROWS.keys()
    assert architectures.rendered(PAGE, FIGURES) == PAGE
    for table in architectures.TABLES.values():
        assert table(FIGURES) in PAGE


def test_the_commands_of_the_page_have_the_options_of_the_rows() -> None:
    commands = [line for line in PAGE.replace("\\\n", "").splitlines() if f"train -c {CONFIG}" in line]
    written = {tuple(sorted(word for word in line.split() if "model." in word)) for line in commands}
    assert {tuple(sorted(row.options)) for row in ROWS.values()} <= written


@pytest.mark.slow
def test_a_small_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures, page = tmp_path / "figures.json", tmp_path / "page.md"
    page.write_text(PAGE)
    small = (*(f"data.scenes.{split}=20" for split in ("train", "val", "test", "heldout")), "model.hidden_dim=16")
    options = (*ROWS["transformer"].options, *small, "train.batch_size=10", "train.epochs=1")
    monkeypatch.setattr(architectures, "ROWS", {"lstm": ROWS["lstm"], "transformer": Row("small", options)})
    monkeypatch.setattr(architectures, "FIGURES", figures)
    monkeypatch.setattr(architectures, "PAGE", page)
    monkeypatch.setattr(architectures, "TIMED_STEPS", 5)
    monkeypatch.setattr(architectures, "SEEDS", (0,))
    words = [str(tmp_path / "runs"), "--only", "transformer"]
    assert CliRunner().invoke(architectures.main, words, catch_exceptions=False).exit_code == 0
    measured = json.loads(figures.read_text())
    (row,), (seconds,) = measured["rows"].values(), measured["seconds"].values()
    assert 0 <= row["seeds"][0]["heldout"]["correct"] <= 1
    assert all(len(row["gradients"][when]["inputs"]) > max(DISTANCES) for when in ("start", "end"))
    assert seconds > 0
    assert page.read_text().count("| small |") == len(architectures.TABLES)
