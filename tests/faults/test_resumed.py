"""Resumed trainings of random configs: results are identical, all options are sampled, differences are detected."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from captioner.config.option_table import options
from captioner.files import checkpoint
from captioner.training.run_folder import RunFolder
from faults import resumed
from faults.session import ESCAPED, SEED

GIVEN = {
    "caption.n_best",  # options of captions have no effect on training
    "caption.attention",
    "caption.keywords_above",
    "data.source",
    "data.root",
    "data.scenes.seed",
    "data.scenes.train",
    "data.scenes.val",
    "data.scenes.test",
    "data.scenes.heldout",
    "data.cs231n.pca",
    "data.captions",
    "data.captions_per_image",
    "data.references",
    "train.init_from",
}


def test_every_option_is_sampled() -> None:
    names = {option.path for option in options()}
    assert resumed.SAMPLERS.keys() | GIVEN == names
    assert not resumed.SAMPLERS.keys() & GIVEN


@pytest.mark.parametrize("trial", range(4))
def test_resumed_run_equals_an_uninterrupted_run(trial: int, tmp_path: Path) -> None:
    outcome = resumed.Resumed(tmp_path, SEED)(trial)
    assert outcome.kind not in ESCAPED, outcome


def change_last_bit(run: RunFolder) -> None:
    saved = checkpoint.load(run.last)
    moment = saved.slots["v"]["b_vocab"]
    moment[3] = np.nextafter(moment[3], np.inf)
    checkpoint.save(run.last, saved)


def change_since_best(run: RunFolder) -> None:
    saved = checkpoint.load(run.last)
    checkpoint.save(run.last, dataclasses.replace(saved, meta=dataclasses.replace(saved.meta, since_best=5)))


def remove_history_line(run: RunFolder) -> None:
    run.history.write_text("".join(run.history.read_text().splitlines(keepends=True)[1:]))


DIFFERENCES: dict[str, tuple[Callable[[RunFolder], object], str]] = {
    "last bit of a slot": (change_last_bit, "last.h5: slots/v/b_vocab differs"),
    "validations without improvement": (change_since_best, "last.h5: since_best: 5, not "),
    "history line missing": (remove_history_line, "history.jsonl: line "),
    "best checkpoint missing": (lambda run: run.best.unlink(), "best.h5: missing"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_injected_difference_is_detected(name: str, tiny_run: Path, own_run: Path) -> None:
    inject, expected = DIFFERENCES[name]
    run, uninterrupted = RunFolder(own_run), RunFolder(tiny_run)
    assert resumed.compare(run, uninterrupted) == ""
    inject(run)
    assert resumed.compare(run, uninterrupted).startswith(expected)


def test_stale_history_lines_at_the_end_are_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioner.training.run_folder.is_kept", lambda line, step: json.loads(line)["step"] <= step)
    outcomes = (resumed.Resumed(tmp_path, SEED)(trial) for trial in range(3, 20))
    assert any(outcome.kind == "wrong" and "history.jsonl: line" in outcome.note for outcome in outcomes)
