"""captioner evaluate, as text and as JSON lines."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioner.run.sample import Score, open_corpus, open_run, score


def test_text(cli: Callable[..., Any], coco_run: Path, golden: Callable[..., None]) -> None:
    done = cli("evaluate", coco_run, "--split", "train", "--split", "val")
    assert (done.code, done.err) == (0, "")
    golden("evaluate.txt", done.out)


def test_json_lines(cli: Callable[..., Any], tiny_run: Path) -> None:
    done = cli("evaluate", tiny_run, "--json", "--split", "heldout", "--split", "test")
    restored = open_run(tiny_run)
    corpus = open_corpus(restored)
    scores = [score(restored, name, corpus.split(name)) for name in ("heldout", "test")]
    assert [json.loads(line) for line in done.out.splitlines()] == [one._asdict() for one in scores]
    assert list(json.loads(done.out.splitlines()[0])) == ["split", "images", "loss", "perplexity", "distinct", "true"]


def test_the_share_that_is_true(cli: Callable[..., Any], tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioner.run.sample.score", lambda *_: Score("val", 1200, 1.5, 4.4817, 1100, 0.9876))
    said = "val: 1,200 images, perplexity 4.48, 1,100 different captions, 98.8% true of their picture\n"
    assert cli("evaluate", tiny_run) == (0, said, "")


def test_json_has_no_infinity(cli: Callable[..., Any], tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioner.run.sample.mean_word_loss", lambda *_: 1000.0)
    line = cli("evaluate", tiny_run, "--json").out
    assert json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))["loss"] == 1000
