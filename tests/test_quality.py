"""Captions are right and photographs are found as often as before: what no equation shows, and a wrong step loses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pages import ROOT

RUN = (
    "model.decoder=gru", "model.hidden_dim=64", "model.wordvec_dim=32", "model.output_bias=log_frequency", "threads=1",
    "data.scenes.train=1500", "data.scenes.val=100", "data.scenes.test=5", "data.scenes.heldout=5", "train.epochs=20",
    "train.max_steps=500", "train.batch_size=64", "train.learning_rate=0.02", "train.schedule=cosine",
    "validate.every=20",
)  # fmt: skip
RANKINGS = {
    "cat": "chelsea",
    "motorcycle": "motorcycle",
    "flower": "flower",
    "cup table": "coffee",
    "building": "china",
    "man suit": "grace_hopper",
}
"""The first photograph of docs/photos that the default model finds."""


def test_captions_of_drawn_scenes_are_fully_correct(cli: Callable[..., Any], tmp_path: Path) -> None:
    """39 of 100 where this was written, after a few seconds of training; the floor leaves room for other CPUs."""
    overrides = [word for each in RUN for word in ("-o", each)]
    assert cli("train", *overrides, "--run", tmp_path / "run").code == 0
    assert json.loads(cli("evaluate", tmp_path / "run", "--json").succeeded().out)["correct"] >= 0.28


def test_photographs_are_found_by_the_words_that_fit_them(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    for photo in (ROOT / "docs" / "photos").glob("*.jpg"):
        shutil.copy(photo, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAPTIONER_ALBUM", "a.db")
    assert cli("caption", ".").code == 0
    for query, expected in RANKINGS.items():
        assert cli("search", query).out.startswith(f"{expected}.jpg"), query
