"""Reading a run again: only when it has changed, whatever is in its files, and without touching them."""

import json
import os
import shutil
from pathlib import Path

import pytest

from captioner.monitor.current_captions import Current
from captioner.monitor.follow import SHARE, Follower, pause
from captioner.monitor.page import MonitorPage
from captioner.monitor.run_state import Kind
from captioner.monitor.view import find_progress, span_of
from captioner.report.history import read_history
from captioner.training.run_folder import RunFolder


def text_of(page: MonitorPage, path: str) -> str:
    page._follower._due = 0.0
    return page.paths()[path]().body.decode()


def test_a_history_is_read_again_only_if_it_has_changed(own_run: Path) -> None:
    follower = Follower(own_run)
    first = follower.look()
    assert first.state.kind is Kind.ENDED
    assert first.history.steps == read_history(own_run).steps
    follower._due = 0.0
    assert follower.look().history is first.history
    RunFolder(own_run).log({"kind": "step", "step": 99, "epoch": 9})
    follower._due = 0.0
    assert follower.look().history.last_step == 99


def test_reading_takes_a_small_share_of_the_time(own_run: Path) -> None:
    follower = Follower(own_run)
    follower.look()
    RunFolder(own_run).log({"kind": "step", "step": 99, "epoch": 9})
    follower._due = float("inf")
    assert follower.look().history.last_step < 99
    for seconds in (0.0, 0.1, 60.0):
        assert seconds <= SHARE * (seconds + pause(seconds))


def test_a_deleted_run_shows_its_last_history(own_run: Path) -> None:
    page = MonitorPage(own_run)
    before = text_of(page, "/curves")
    shutil.rmtree(own_run)
    assert "folder not found; it was moved or deleted" in text_of(page, "/status")
    assert text_of(page, "/curves") == before
    assert "<svg" in before


def test_a_replaced_run_begins_again(own_run: Path) -> None:
    page = MonitorPage(own_run)
    assert "<svg" in text_of(page, "/curves")
    shutil.rmtree(own_run)
    own_run.mkdir()
    assert "Waiting for training" in text_of(page, "/status")
    assert "No step is recorded yet" in text_of(page, "/curves")


@pytest.mark.parametrize(
    "line", ["", "null", "[1]", '{"kind": "step"}', '{"step": NaN, "kind": "step"}', "\xff\0", "[" * 100_000, "{" * 9]
)
def test_damaged_lines_are_counted_and_left_out(line: str, own_run: Path) -> None:
    lines = (own_run / "history.jsonl").read_bytes().splitlines(keepends=True)
    bad = line.encode("latin-1") + b"\n"
    (own_run / "history.jsonl").write_bytes(b"".join([lines[0], bad, *lines[1:], bad, lines[0][:-5]]))
    expected = Follower(own_run).look().history
    assert len(expected.steps) + len(expected.validations) + len(expected.warnings) == len(lines)
    assert expected.damaged == 2
    assert "2 lines of history.jsonl and speed.jsonl cannot be read and are left out." in text_of(
        MonitorPage(own_run), "/status"
    )


@pytest.mark.parametrize(
    "values", [{"epoch": "x"}, {"epoch": None, "perplexity": "y"}, {"perplexity": 1e400, "words": {}}]
)
def test_records_with_other_values_do_not_break_the_page(values: dict[str, object], own_run: Path) -> None:
    with open(own_run / "history.jsonl", "a") as file:
        for kind in ("step", "validation", "warning", "other"):
            file.write(json.dumps({"kind": kind, "step": 99, "best": True, "scores": 3, **values}) + "\n")
    assert "99" in text_of(MonitorPage(own_run), "/status")
    assert "<svg" in text_of(MonitorPage(own_run), "/curves")


def test_texts_are_escaped(own_run: Path) -> None:
    run = own_run.rename(own_run.with_name("<script>alert(1)<script>"))
    RunFolder(run).log({"kind": "warning", "step": 8, "problem": "<b>\x1b bad"})
    page = MonitorPage(run)
    page.captions.current = Current(problem="<i>&")
    for path in page.paths():
        text = text_of(page, path)
        assert "<script>alert" not in text
        assert "<b>" not in text
        assert "<i>" not in text
        assert "\x1b" not in text
    assert "&lt;b&gt;\\x1b bad (step 8)" in text_of(page, "/status")


def test_warnings_are_merged_and_shortened(own_run: Path) -> None:
    for step in range(1, 9):
        RunFolder(own_run).log({"kind": "warning", "step": 10 + step, "problem": "slow"})
        RunFolder(own_run).log({"kind": "warning", "step": 9, "problem": "old"})
        RunFolder(own_run).log({"kind": "warning", "step": 20 + step, "problem": f"{step}" + "x" * 9000})
    text = text_of(MonitorPage(own_run), "/status")
    assert text.count("<li>") == 5
    assert "old" not in text
    assert "slow" not in text
    assert "x" * 300 not in text
    assert "5 earlier warnings are in history.jsonl" in text


def test_the_length_follows_from_the_history_if_the_data_set_is_missing(tiny_run: Path) -> None:
    _, history, config = Follower(tiny_run).look()
    assert config is not None
    span = span_of(config, history)
    assert span is not None
    assert find_progress(history, span) == (8, 8, 2, 2)
    first = [one for one in history.steps if one["epoch"] == 1]
    assert span_of(config, type(history)(first, [], [], [])) is None
    assert find_progress(history, None) == (8, None, 2, None)


def test_the_folder_is_only_read(own_run: Path) -> None:
    def state() -> list[object]:
        files = sorted(own_run.rglob("*"))
        return [
            os.stat(own_run).st_mtime_ns,
            *((file, file.stat()[:7], file.stat().st_mtime_ns, file.read_bytes()) for file in files),
        ]

    before = state()
    page = MonitorPage(own_run)
    page.captions.update()
    assert page.captions.current.gallery is not None
    for path in page.paths():
        text_of(page, path)
    assert state() == before
