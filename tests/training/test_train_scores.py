"""Scores of generated captions during training, and best checkpoints by score."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from captioner.config.yaml_io import parse
from captioner.errors import ConfigError
from captioner.evaluation.score_model import build_evaluation_set, score_model
from captioner.inference.load import captioner_of, open_corpus, open_run
from captioner.metrics import NAMES
from captioner.storage import checkpoint
from captioner.training.events import Validated
from captioner.training.resume import resume
from captioner.training.train import train
from captioner.training.validation import Validation


@pytest.fixture
def go(small: Sequence[str], tmp_path: Path) -> Callable[..., list[Validated]]:
    def run(*overrides: str) -> list[Validated]:
        config = parse("", "", [*small, "train.learning_rate=0.02", *overrides])
        return [event for event in train(config, tmp_path / "run") if isinstance(event, Validated)]

    return run


def test_captions_are_scored_every_n_epochs_and_at_the_end(go: Callable[..., Any], tmp_path: Path) -> None:
    events = go("train.epochs=5", "validate.score_every=2")
    assert [bool(event.scores) for event in events] == [False, True, False, True, True]
    assert {tuple(event.scores) for event in events if event.scores} == {NAMES}
    lines = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    scores = [event.scores for event in events]
    assert [(line["scores"], line.get("at_end", False)) for line in lines if line["kind"] == "validation"] == [
        *((one, False) for one in scores[:4]),
        ({}, False),  # as in a longer run, which does not score epoch 5
        (scores[4], True),
    ]


@pytest.mark.parametrize("option", ["train.ema_decay=0.5", "decode.consensus=100"])
def test_the_scores_equal_those_of_evaluate(
    option: str, go: Callable[..., Any], tmp_path: Path, inversions: list[int]
) -> None:
    events = go("train.epochs=12", "validate.score_every=6", "decode.beam_width=2", option)
    restored = open_run(tmp_path / "run" / "last.h5")
    corpus = open_corpus(restored)
    scored = score_model(captioner_of(restored, corpus), corpus, "val", *build_evaluation_set(corpus, "val"))
    assert events[-1].scores["bleu1"] > 0.2
    assert {name: scored.scores[name] for name in NAMES} == pytest.approx(events[-1].scores, abs=1e-12)
    assert scored.scores["loss"] == pytest.approx(events[-1].loss, rel=1e-5)
    assert inversions == ([40] if "consensus" in option else []), "once, for all validations and the run folder"


def test_best_checkpoint_by_score(go: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = iter([0.3, 0.5, 0.4, 0.5, 0.6])
    monkeypatch.setattr(Validation, "scores", lambda *_: dict.fromkeys(NAMES, next(script)))
    events = go("train.epochs=5", "validate.score_every=1", "validate.best_metric=cider_d")
    assert [event.best for event in events] == [True, True, False, False, True]
    best = checkpoint.load(tmp_path / "run" / "best.h5").meta.best
    assert best == {"step": events[4].step, "epoch": 5, "loss": events[4].loss, "cider_d": 0.6}
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["best"]["cider_d"] == 0.6


def test_a_validation_without_scores_is_never_the_best(go: Callable[..., Any], tmp_path: Path) -> None:
    events = go("train.epochs=3", "validate.score_every=2", "validate.best_metric=bleu4")
    assert events[0].best is False
    assert events[1].best is True
    assert checkpoint.load(tmp_path / "run" / "last.h5").meta.best["epoch"] == 2
    assert checkpoint.load(tmp_path / "run" / "best.h5").meta.best["epoch"] == (3 if events[2].best else 2)


def test_a_resumed_run_compares_with_the_saved_best_score(
    go: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = iter([0.5, 0.4, 0.6])
    monkeypatch.setattr(Validation, "scores", lambda *_: dict.fromkeys(NAMES, next(script)))
    go("train.epochs=1", "validate.score_every=1", "validate.best_metric=cider_d")
    again = [e for e in resume(tmp_path / "run", ["train.epochs=3"]) if isinstance(e, Validated)]
    assert [event.best for event in again] == [False, True]


def test_patience_counts_only_scored_validations(go: Callable[..., Any]) -> None:
    """Validations without scores do not count."""
    events = go("train.epochs=6", "validate.score_every=3", "validate.best_metric=cider_d", "train.patience=2")
    assert [event.epoch for event in events] == [1, 2, 3, 4, 5, 6]


def test_unknown_suppressed_words_are_rejected_before_training(go: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"decode\.suppress"):
        go("validate.score_every=1", "decode.suppress_words=unheard")
    assert not (tmp_path / "run").exists()


def test_ema_cannot_be_enabled_by_resume(go: Callable[..., Any], tmp_path: Path) -> None:
    go("train.epochs=1")
    with pytest.raises(ConfigError, match=r"-o train.ema_decay: the run in .* has no EMA; start a new run"):
        list(resume(tmp_path / "run", ["train.ema_decay=0.9", "train.epochs=2"]))


def test_best_metric_requires_scores(small: Sequence[str]) -> None:
    with pytest.raises(ConfigError, match=r"validate.best_metric.*is never measured \(set validate.score_every 1"):
        parse("", "", [*small, "validate.best_metric=cider_d"])


def test_the_message_of_a_validation(cli: Callable[..., Any], small_options: Sequence[str], tmp_path: Path) -> None:
    done = cli(
        "train", *small_options, "--run", tmp_path / "run", "-o", "train.epochs=1", "-o", "validate.score_every=1",
        "-o", "validate.best_metric=bleu4",
    )  # fmt: skip
    assert done.code == 0
    (line,) = [line for line in done.err.splitlines() if line.startswith("epoch 1")]
    assert "  BLEU-4 " in line
    assert ", CIDEr-D " in line
    assert "; best bleu4 " in done.err
