"""The history of a run: its lines, and what reopening keeps of it."""

import json
import os
from pathlib import Path

import pytest

from captioner.training.history import first_record
from captioner.training.run_folder import RunFolder

DAMAGED = [b"", b"[]", b"\xff", b"[" * 60_000, b'{"kind": []}', b'{"kind": "step"}', b"nul\n"]


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_histories_are_no_run(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_bytes(content)
    assert first_record(tmp_path / "history.jsonl") is None


def history(folder: Path, *lines: str) -> str:
    run = RunFolder(folder)
    run.history.write_text("".join(lines))
    run.reopen(4)
    return run.history.read_text()


def test_reopening_truncates_the_history_after_the_checkpoint(tmp_path: Path) -> None:
    lines = [json.dumps({"kind": "step", "step": step}) + "\n" for step in (2, 4, 6)]
    validation = '{"kind": "validation", "step": 4}\n'
    assert history(tmp_path, lines[0], lines[1], validation, lines[2]) == lines[0] + lines[1] + validation


@pytest.mark.parametrize("torn", ['{"kind": "st', '{"kind": "step", "ste', "{}", "[]", "7", '{"step": null}', "\x00"])
def test_reopening_removes_a_line_cut_short_by_a_kill(torn: str, tmp_path: Path) -> None:
    assert history(tmp_path, '{"step": 2}\n', torn) == '{"step": 2}\n'


def test_reopening_removes_undecodable_lines(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.history.write_bytes(b'{"step": 2}\n\xff\xfe\x80\n')
    run.reopen(4)
    assert run.history.read_bytes() == b'{"step": 2}\n'


def test_reopening_without_a_history(tmp_path: Path) -> None:
    RunFolder(tmp_path).claim()
    assert os.listdir(tmp_path) == []


def test_a_log_line_is_one_json_object(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for step in (1, 2):
        run.log({"step": step, "loss": 0.5})
    assert [json.loads(line) for line in run.history.read_text().splitlines()] == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": 0.5},
    ]
