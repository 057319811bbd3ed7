"""The report of a training run: rewritten after every validation, and never a reason to stop."""

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.config.options import Config
from captioner.config.yaml_io import parse
from captioner.data.corpus import Features
from captioner.errors import CaptionerError, DivergenceError
from captioner.inference.load import load, open_corpus, open_run
from captioner.optim.schedules import Span
from captioner.report import live
from captioner.report.chart import evenly_spaced
from captioner.report.gallery import FIXED
from captioner.report.live import LiveReport, with_report
from captioner.training.events import Event, Validated, Warned
from captioner.training.run_folder import RunFolder
from captioner.training.train import train

OPTIONS = ("train.epochs=2", "train.log_every=2", "validate.score_every=1", "train.learning_rate=0.01")


@pytest.fixture(scope="module")
def config(small: Sequence[str]) -> Config:
    return parse("", "", [*small, *OPTIONS])


def test_the_report_is_written_after_every_validation(config: Config, tmp_path: Path) -> None:
    run, pages = tmp_path / "run", []
    events = []
    for event in with_report(train(config, run), run):
        events.append(event)
        if isinstance(event, Validated):
            pages.append((run / "report.html").read_text() if (run / "report.html").exists() else "")
    assert not [event for event in events if isinstance(event, Warned)]
    first, second = pages
    assert first == "", "it is written after the event"
    assert "training: step 4 of 8 (50 %), epoch 1 of 2" in second
    assert '<progress max="8" value="4"' in second
    assert '<meta http-equiv="refresh" content="10">' in second
    assert re.search(r"<dt>Time left</dt><dd>\d\d:\d\d<small>estimated</small>", second)
    page = (run / "report.html").read_text()
    assert page.count('<li class="entry"') == FIXED
    assert "Training curves" in page
    assert not re.search('training: step|http-equiv="refresh"|<progress', page), "the training has ended"
    assert sorted(os.listdir(run)) == [
        "best.h5", "config.yaml", "history.jsonl", "last.h5", "report.html", "summary.json",
    ]  # fmt: skip
    without = tmp_path / "without"
    for _ in train(config, without):
        pass
    for name in ("history.jsonl", "config.yaml"):
        assert (run / name).read_bytes() == (without / name).read_bytes(), "the report does not change the training"


def test_a_diverged_run_does_not_reload_its_page(config: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def events() -> Iterator[Event]:
        for event in train(config, run):
            yield event
            if isinstance(event, Validated):
                break
        raise DivergenceError("step 5: the loss is not finite")

    with pytest.raises(DivergenceError):
        for _ in with_report(events(), run):
            pass
    page = (run / "report.html").read_text()
    assert "Training curves" in page
    assert 'http-equiv="refresh"' not in page


def test_a_refused_run_keeps_the_page_of_the_existing_one(config: Config, own_run: Path) -> None:
    page = own_run / "report.html"
    page.write_text("the page of the existing run")
    with pytest.raises(CaptionerError, match="already contains a run"):
        list(with_report(train(config, own_run), own_run))
    assert page.read_text() == "the page of the existing run"


FAULTS: dict[str, Callable[[pytest.MonkeyPatch, Path], object]] = {
    "rendering": lambda monkeypatch, run: monkeypatch.setattr(live, "render_page", None),
    "file": lambda monkeypatch, run: (run / "report.html").mkdir(),
    "checkpoint": lambda monkeypatch, run: (run / "last.h5").write_bytes(b"damaged"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failure_is_one_warning(fault: str, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, warnings = tmp_path / "run", []
    for event in with_report(train(config, run), run):
        if isinstance(event, Validated) and not warnings:
            FAULTS[fault](monkeypatch, run)
        if isinstance(event, Warned):
            warnings.append(event.problem)
    (problem,) = warnings
    assert problem.startswith("--report: ")
    assert problem.endswith("; training continues")
    assert json.loads((run / "summary.json").read_text())["steps"] == 8


def test_the_next_validation_tries_again(config: Config, tmp_path: Path) -> None:
    page = tmp_path / "run" / "report.html"
    for event in with_report(train(config, page.parent), page.parent):
        if isinstance(event, Validated):
            page.mkdir() if event.epoch == 1 else page.rmdir()
    assert page.is_file()


def test_a_run_without_a_checkpoint_has_a_page(tiny_run: Path, tmp_path: Path) -> None:
    for name in ("config.yaml", "history.jsonl"):
        (tmp_path / name).write_bytes((tiny_run / name).read_bytes())
    page = LiveReport(tmp_path).render(is_running=True).decode()
    assert "Training curves" in page
    assert 'class="entry"' not in page
    assert "training: step 8, epoch 2" in page
    with pytest.raises(CaptionerError, match=r"config.yaml: not found"):
        LiveReport(tmp_path / "none").render(is_running=True)


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
    report = LiveReport(tiny_run)
    report.use(dataclasses.replace(corpus, splits={**corpus.splits, "val": val}), Span(8, 4))
    report.render(is_running=False)
    assert features.read == set(evenly_spaced(range(10), FIXED))


def captioned(run: Path, images: Path | None = None) -> LiveReport:
    report = LiveReport(run, images)
    report.use(open_corpus(open_run(run)), Span(8, 4))
    report.render(is_running=True)
    return report


def entries(page: bytes) -> list[tuple[str, str]]:
    """The names and captions of a page."""
    text = page.decode()
    captions = [caption.replace("(no words)", "") for caption in re.findall(r'class="caption"[^>]*>([^<]*)', text)]
    return [*zip(re.findall(r'data-name="([^"]*)"', text), captions, strict=True)]


@pytest.mark.parametrize(
    ("kind", "progress"), [("tiny_run", b"step 8 of 8 (100 %)"), ("attention_run", b"2 of 8 (25 %)")]
)
def test_captions_are_those_of_the_last_checkpoint(kind: str, progress: bytes, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(kind)
    report = captioned(run)
    assert report.problem == ""
    split = open_corpus(open_run(run)).split("val")
    expected = {caption.image: caption.text for caption in load(run / "last.h5").caption_split(split)}
    page = report.render(is_running=True)
    shown = dict(entries(page))
    assert shown == {name: expected[name] for name in shown}
    assert len(shown) == FIXED
    assert (b"strongest region" in page) is (kind == "attention_run")
    assert progress in page


def test_images_are_captioned_again_only_for_another_checkpoint(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = captioned(own_run)
    first = report.render(is_running=False)
    with monkeypatch.context() as counted:
        counted.setattr(live, "caption_fixed_images", lambda *_: pytest.fail("captioned again"))
        RunFolder(own_run).log({"kind": "step", "step": 99, "epoch": 9})
        assert entries(report.render(is_running=False)) == entries(first)
    calls: list[object] = []
    monkeypatch.setattr(live, "caption_fixed_images", lambda *_: calls.append(1))
    shutil.copy(own_run / "last.h5", own_run / "new.h5")
    os.replace(own_run / "new.h5", own_run / "last.h5")
    report.render(is_running=False)
    assert calls == [1]


def test_a_damaged_checkpoint_keeps_the_captions_of_the_last_one(own_run: Path) -> None:
    report, whole = captioned(own_run), (own_run / "last.h5").read_bytes()
    first = entries(report.render(is_running=True))
    (own_run / "last.h5").write_bytes(whole[:-100])
    assert entries(report.render(is_running=True)) == first
    assert report.problem.startswith(f"{own_run / 'last.h5'}: damaged: expected ")
    (own_run / "last.h5").write_bytes(whole)
    assert entries(report.render(is_running=True)) == first
    assert report.problem == ""


def test_photographs_are_read_from_the_given_folder_only(photo_run: Path) -> None:
    for images, count in ((None, 0), (photo_run.parent / "photos", 2)):
        assert captioned(photo_run, images).render(is_running=True).count(b"data:image/jpeg") == count
