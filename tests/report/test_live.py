"""The report of a training run: rewritten after every validation, and never a reason to stop."""

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.config.options import Config
from captioner.config.yaml_io import parse
from captioner.data.corpus import Features
from captioner.errors import CaptionerError
from captioner.inference.load import open_corpus, open_run
from captioner.report import live
from captioner.report.downsampling import evenly_spaced
from captioner.report.fixed_images import SHOWN
from captioner.report.live import live_page, with_report
from captioner.training.events import Validated, Warned
from captioner.training.resume import resume
from captioner.training.train import train

OPTIONS = ("train.epochs=2", "train.log_every=2", "validate.score_every=1", "train.learning_rate=0.01")


@pytest.fixture(scope="module")
def config(small: Sequence[str]) -> Config:
    return parse("", "", [*small, *OPTIONS])


def same_run(one: Path, other: Path) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in ("history.jsonl", "config.yaml"))


def test_the_report_is_written_after_every_validation(config: Config, tmp_path: Path) -> None:
    run, pages = tmp_path / "run", []
    events = []
    for event in with_report(train(config, run), run):
        events.append(event)
        if isinstance(event, Validated):
            pages.append((run / "report.html").exists())
    page = (run / "report.html").read_text()
    assert pages == [False, True], "it is written after the event"
    assert not [event for event in events if isinstance(event, Warned)]
    assert page.count('<li class="entry"') == SHOWN
    assert "Training curves" in page
    assert "training: step" not in page, "the training has ended"
    speeds = [json.loads(line) for line in (run / "speed.jsonl").read_text().splitlines()]
    assert [one["step"] for one in speeds] == [2, 4, 6, 8]
    assert all(one["words_per_second"] > 0 for one in speeds)
    assert sorted(os.listdir(run)) == [
        "best.h5", "config.yaml", "history.jsonl", "last.h5", "report.html", "speed.jsonl", "summary.json",
    ]  # fmt: skip
    for _ in train(config, tmp_path / "without"):
        pass
    assert same_run(run, tmp_path / "without"), "the report does not change the training"


def test_a_page_during_training_states_the_step(config: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for event in with_report(train(config, run), run):
        if isinstance(event, Validated) and event.epoch == 2:
            page = (run / "report.html").read_text()
    assert "training: step 4 of 8, epoch 1" in page


def break_rendering(monkeypatch: pytest.MonkeyPatch, run: Path) -> None:
    def fail(page: object) -> bytes:
        raise ModuleNotFoundError("No module named 'jinja2'", name="jinja2")

    monkeypatch.setattr(live, "render_page", fail)


def block_file(monkeypatch: pytest.MonkeyPatch, run: Path) -> None:
    (run / "report.html").mkdir()


def damage_checkpoint(monkeypatch: pytest.MonkeyPatch, run: Path) -> None:
    (run / "last.h5").write_bytes(b"damaged")


@pytest.mark.parametrize("fault", [break_rendering, block_file, damage_checkpoint])
def test_a_failure_is_one_warning(
    fault: Callable[..., None], config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, warnings, ended = tmp_path / "run", [], None
    for event in with_report(train(config, run), run):
        if isinstance(event, Validated):
            fault(monkeypatch, run) if not warnings else None
        if isinstance(event, Warned):
            warnings.append(event.problem)
        ended = event
    (problem,) = warnings
    assert problem.startswith("--report: ")
    assert problem.endswith("; training continues")
    assert json.loads((run / "summary.json").read_text())["steps"] == 8
    assert ended is not None


def test_the_next_validation_tries_again(config: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for event in with_report(train(config, run), run):
        if isinstance(event, Validated):
            (run / "report.html").mkdir() if event.epoch == 1 else (run / "report.html").rmdir()
    assert (run / "report.html").is_file()


def test_a_full_disk_keeps_the_last_report(
    config: Config, tmp_path: Path, files_of_at_most: Callable[[int], Any]
) -> None:
    run = tmp_path / "run"
    for _ in with_report(train(config, run), run):
        pass
    before = (run / "report.html").read_bytes()
    with files_of_at_most(10_000), pytest.raises(CaptionerError, match=r"report.html: cannot write: File too"):
        live.write_live_page(run, open_corpus(open_run(run)), 8)
    assert (run / "report.html").read_bytes() == before
    assert not list(run.glob(".report*"))


def test_a_run_without_a_checkpoint_has_a_page(tiny_run: Path, tmp_path: Path) -> None:
    for name in ("config.yaml", "history.jsonl"):
        (tmp_path / name).write_bytes((tiny_run / name).read_bytes())
    corpus = open_corpus(open_run(tiny_run))
    page = live_page(tmp_path, corpus, 8).decode()
    assert "Training curves" in page
    assert 'class="entry"' not in page
    with pytest.raises(CaptionerError, match=r"config.yaml: not found"):
        live_page(tmp_path / "none", corpus, 8)


def test_a_resumed_run_has_the_speeds_of_its_steps_once(config: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for event in with_report(train(config, run), run):
        if getattr(event, "step", 0) == 7:
            break  # after the checkpoint of step 4
    for _ in with_report(resume(run), run):
        pass
    assert [json.loads(line)["step"] for line in (run / "speed.jsonl").read_text().splitlines()] == [2, 4, 6, 8]


class Recorded:
    """Features that record the rows that are read."""

    def __init__(self, features: Features) -> None:
        self.features, self.shape, self.dtype = features, features.shape, features.dtype
        self.read: set[int] = set()

    def __getitem__(self, rows: Any) -> Any:
        self.read |= set(np.arange(self.shape[0])[rows].tolist())
        return self.features[rows]


def test_only_the_shown_images_are_captioned(tiny_run: Path) -> None:
    corpus = open_corpus(open_run(tiny_run))
    features = Recorded(corpus.split("val").features)
    val = dataclasses.replace(corpus.split("val"), features=features)
    live_page(tiny_run, dataclasses.replace(corpus, splits={**corpus.splits, "val": val}), 8)
    assert features.read == set(evenly_spaced(range(10), SHOWN))
