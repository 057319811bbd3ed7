"""What is read of a history: whole records with usable numbers, whatever else the file contains."""

import json
from pathlib import Path

import pytest

from captioner.report.run_facts import points, read_history

STEP = {"kind": "step", "step": 1, "epoch": 1, "word_loss": 2.5}
VALIDATION = {"kind": "validation", "step": 4, "epoch": 2, "loss": 1.5, "scores": {"cider_d": 0.5}}


def write(folder: Path, *lines: str) -> None:
    (folder / "history.jsonl").write_text("\n".join(lines))


def test_records_are_read_by_kind(tmp_path: Path) -> None:
    warning = {"kind": "warning", "step": 4, "problem": "all captions are identical"}
    write(tmp_path, *map(json.dumps, (STEP, VALIDATION, warning, {"kind": "init_from", "step": 0})))
    history = read_history(tmp_path)
    assert (history.steps, history.validations, history.warnings) == ([STEP], [VALIDATION], [warning])
    assert (history.last_step, history.last_epoch) == (4, 2)


def test_a_missing_history_is_empty(tmp_path: Path) -> None:
    history = read_history(tmp_path)
    assert (history.steps, history.validations, history.last_step, history.last_epoch) == ([], [], 0, 0)


@pytest.mark.parametrize(
    "line",
    [
        '{"kind": "step", "step": 2, "word_l',
        "[" * 100_000,
        '{"kind": "step"}',
        '{"kind": "step", "step": true}',
        '{"kind": "step", "step": "2"}',
        '{"kind": "step", "step": 1e999}',
        '{"kind": "step", "step": ' + "9" * 400 + "}",
        '["kind", "step"]',
        "\x00\udcff".encode("utf-8", "surrogateescape").decode("latin-1"),
    ],
)
def test_lines_that_are_no_records_are_skipped(line: str, tmp_path: Path) -> None:
    write(tmp_path, json.dumps(STEP), line, json.dumps(VALIDATION))
    history = read_history(tmp_path)
    assert (history.steps, history.validations) == ([STEP], [VALIDATION])
    assert (history.warnings, history.problem) == ([], "history.jsonl: damaged lines are left out: 2")


def test_half_a_line_at_the_end_is_no_damage(tmp_path: Path) -> None:
    write(tmp_path, json.dumps(STEP), '{"kind": "step", "st')
    assert read_history(tmp_path).problem == ""


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e400", '"3"', "null", "true", "[1]", "{}", "9" * 400])
def test_values_that_are_no_numbers_are_no_points(value: str, tmp_path: Path) -> None:
    write(tmp_path, json.dumps(STEP), f'{{"kind": "step", "step": 2, "word_loss": {value}}}')
    assert points(read_history(tmp_path).steps, "word_loss") == [(1, 2.5)]


def test_points_are_sorted_and_the_last_record_of_a_step_counts(tmp_path: Path) -> None:
    records = [{**STEP, "step": step, "word_loss": value} for step, value in ((3, 1.0), (1, 2.0), (3, 4.0))]
    assert points(records, "word_loss") == [(1, 2.0), (3, 4.0)]


def test_a_path_through_something_else_than_an_object_is_no_point() -> None:
    assert points([{**VALIDATION, "scores": 3}, {**VALIDATION, "step": 5}], "scores", "cider_d") == [(5, 0.5)]
