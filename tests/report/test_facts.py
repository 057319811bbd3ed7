"""Facts of a run without paths and names of the machine, and its measurements from damaged files."""

import json
from pathlib import Path

import pytest

import captioner
from captioner.captioning.load import open_run
from captioner.report.chart import History, points, read_history
from captioner.report.page import MAX_WARNINGS, RunFacts, facts_of_run
from captioner.training.run_folder import end_of, records


def test_the_facts_of_a_finished_run(own_run: Path) -> None:
    end = end_of(records(own_run / "history.jsonl"))
    facts = facts_of_run("a", open_run(own_run))
    assert facts.training["steps"] == "8 (2 epochs)"
    assert facts.training["ended"] == "done"
    assert facts.training["speed"] == f"{end['words_per_second']:,} words per second"
    assert facts.training["environment"].startswith(f"threads 2, ranks 1, captioner {captioner.__version__}, NumPy ")
    assert facts.model["decoder"] == "lstm, 16 units"
    assert "hidden_dim: 16" in facts.differences


def test_a_run_may_end_at_a_step_that_is_not_logged(own_run: Path) -> None:
    lines = (own_run / "history.jsonl").read_text().splitlines(keepends=True)
    (own_run / "history.jsonl").write_text("".join([*lines[:-3], lines[-1]]))
    facts = facts_of_run("a", open_run(own_run / "last.h5"))
    assert facts.training["ended"] == "done"
    assert facts.training["steps"].startswith("8 ")


def test_a_resumed_run_does_not_state_the_end_of_the_training_before(own_run: Path) -> None:
    with open(own_run / "history.jsonl", "a") as file:
        file.write('{"kind": "step", "step": 9, "epoch": 3}\n')
    facts = facts_of_run("a", open_run(own_run))
    assert facts.training["steps"] == "9 (3 epochs)"
    assert not {"ended", "time", "speed"} & facts.training.keys()


def test_a_damaged_end_is_left_out(own_run: Path) -> None:
    lines = (own_run / "history.jsonl").read_text().splitlines(keepends=True)
    odd = '{"kind": "end", "step": 8, "seconds": NaN, "ended": {}}\n'
    (own_run / "history.jsonl").write_text("".join([*lines[:-1], "half a\n", odd]))
    facts = facts_of_run("a", open_run(own_run))
    assert facts.training["steps"] == "8 (2 epochs)"
    assert not {"ended", "time", "speed"} & facts.training.keys()


def test_a_kind_of_caption_collapse_is_one_warning_with_its_last_figures() -> None:
    records = [
        {"step": step, "collapse": kind, "problem": f"{kind} {share}%"}
        for step, kind, share in ((3, "unk", 50), (3, "identical", 90), (5, "unk", 40), (9, "unk", 20))
    ]
    facts = RunFacts("a", History([], [], records), "")
    assert facts.warnings == ["unk 20% (steps 3 to 9)", "identical 90% (step 3)"]


def test_warnings_are_listed_once_and_few() -> None:
    records = [{"step": step, "problem": "the same"} for step in (3, 5, 9)]
    many = [{"step": number, "problem": f"{number} " + "x" * 1_000_000} for number in range(2 * MAX_WARNINGS)]
    facts = RunFacts("a", History([], [], [*records, *many]), "")
    assert facts.warnings[0] == "the same (steps 3 to 9)"
    assert len(facts.warnings) == MAX_WARNINGS
    assert max(map(len, facts.warnings)) < 400


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
    assert history.warnings == []


@pytest.mark.parametrize("value", ["NaN", "Infinity", '"3"', "null", "true", "9" * 400])
def test_values_that_are_no_numbers_are_no_points(value: str, tmp_path: Path) -> None:
    write(tmp_path, json.dumps(STEP), f'{{"kind": "step", "step": 2, "word_loss": {value}}}')
    assert points(read_history(tmp_path).steps, "word_loss") == [(1, 2.5)]


def test_points_are_sorted_and_the_last_record_of_a_step_counts(tmp_path: Path) -> None:
    records = [{**STEP, "step": step, "word_loss": value} for step, value in ((3, 1.0), (1, 2.0), (3, 4.0))]
    assert points(records, "word_loss") == [(1, 2.0), (3, 4.0)]


def test_a_path_through_something_else_than_an_object_is_no_point() -> None:
    assert points([{**VALIDATION, "scores": 3}, {**VALIDATION, "step": 5}], "scores", "cider_d") == [(5, 0.5)]
