"""A run folder: what it takes over, what it refuses to lose, and how it is reopened."""

import gc
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from captioner.errors import CaptionerError, CheckpointError, UsageError
from captioner.inference.find_checkpoint import find_checkpoint, is_run
from captioner.training.run_folder import RunFolder


def test_a_new_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    RunFolder(tmp_path / "a" / "b").create(overwrite=False)
    assert os.listdir(tmp_path / "a" / "b") == []


@pytest.mark.parametrize("name", ["config.yaml", "history.jsonl", "last.h5", "best.h5", "summary.json"])
def test_any_file_of_a_run_protects_it(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("old")
    with pytest.raises(UsageError) as caught:
        RunFolder(tmp_path).create(overwrite=False)
    can_go_on = f"go on with it by --resume {tmp_path}" if name == "last.h5" else "it has no last.h5 to go on from"
    assert str(caught.value) == (
        f"{tmp_path}: holds a run already; {can_go_on}, name another folder with --run, or start anew with --overwrite"
    )
    assert (tmp_path / name).read_text() == "old"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_other_files_is_left_alone(overwrite: bool, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(UsageError, match=rf"^{tmp_path}: expected a new or empty folder, got one with other files"):
        RunFolder(tmp_path).create(overwrite)
    assert os.listdir(tmp_path) == ["photo.jpg"]


def test_overwriting_removes_the_run_and_nothing_else(own_run: Path) -> None:
    for other in ("notes.txt", ".notes.7.tmp", "last.h5.old"):
        (own_run / other).touch()
    run = RunFolder(own_run)
    run.create(overwrite=True)
    run.found_best()
    assert sorted(os.listdir(own_run)) == [".notes.7.tmp", "last.h5.old", "notes.txt"]


def test_the_run_before_stays_until_the_new_one_has_a_best(own_run: Path) -> None:
    files = {file.name: file.read_bytes() for file in own_run.iterdir()}
    for _ in range(3):  # a run that has no best yet does not take its place
        run = RunFolder(own_run)
        run.create(overwrite=True)
        assert {file.name: file.read_bytes() for file in run.before.iterdir()} == files
        assert os.listdir(own_run) == ["before"]
        assert run.previous_run_note() == f"; the run before is in {own_run}/before"
        assert is_run(run.before)
        run.write(run.last, "young")
        del run
        gc.collect()
    with pytest.raises(UsageError, match="holds a run already"):
        RunFolder(own_run).create(overwrite=False)
    run = RunFolder(own_run)
    (run.before / "notes.txt").touch()
    run.found_best()
    assert os.listdir(run.before) == ["notes.txt"]
    assert run.previous_run_note() == ""


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    for path in (tmp_path / "run", tmp_path / "run" / "below"):
        with pytest.raises(CaptionerError, match=rf"^{path}: cannot make .*: (File exists|Not a directory)$"):
            RunFolder(path).create(overwrite=False)


def history(folder: Path, *lines: str) -> str:
    run = RunFolder(folder)
    run.history.write_text("".join(lines))
    run.reopen(4)
    return run.history.read_text()


def test_reopening_cuts_the_history_after_the_checkpoint(tmp_path: Path) -> None:
    lines = [json.dumps({"kind": "step", "step": step}) + "\n" for step in (2, 4, 6)]
    validation = '{"kind": "validation", "step": 4}\n'
    assert history(tmp_path, lines[0], lines[1], validation, lines[2]) == lines[0] + lines[1] + validation


@pytest.mark.parametrize("torn", ['{"kind": "st', '{"kind": "step", "ste', "{}", "[]", "7", '{"step": null}', "\x00"])
def test_reopening_drops_a_line_that_a_kill_cut_short(torn: str, tmp_path: Path) -> None:
    assert history(tmp_path, '{"step": 2}\n', torn) == '{"step": 2}\n'


def test_reopening_copes_with_a_damaged_history(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.history.write_bytes(b'{"step": 2}\n\xff\xfe\x80\n')
    run.reopen(4)
    assert run.history.read_bytes() == b'{"step": 2}\n'


def test_reopening_without_a_history(tmp_path: Path) -> None:
    RunFolder(tmp_path).reopen(4)
    assert os.listdir(tmp_path) == []


def test_a_log_line_is_one_json_object(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for step in (1, 2):
        run.log({"step": step, "loss": 0.5})
    assert [json.loads(line) for line in run.history.read_text().splitlines()] == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": 0.5},
    ]


def test_a_full_disk_is_told_with_the_file(tmp_path: Path, files_of_at_most: Callable) -> None:
    run = RunFolder(tmp_path)
    run.write(run.summary, "old")
    with files_of_at_most(100):
        for write in (lambda: run.write(run.summary, "x" * 200), lambda: run.log({"x": "x" * 200})):
            with pytest.raises(CaptionerError, match=r"(summary.json|history.jsonl): cannot write: File too large$"):
                write()
    assert run.summary.read_text() == "old"


def test_a_best_checkpoint_that_cannot_be_kept_stays(tmp_path: Path, files_of_at_most: Callable) -> None:
    run = RunFolder(tmp_path)
    run.best.write_bytes(b"x" * 200)
    with files_of_at_most(100), pytest.raises(CaptionerError, match=r"before-end.h5: cannot write: File too large$"):
        run.keep_best()
    assert os.listdir(tmp_path) == ["best.h5"]


@pytest.mark.parametrize(
    ("kept", "had_best", "expected"), [(True, True, "kept"), (False, True, "end"), (False, False, None)]
)
def test_reopening_undoes_the_best_of_the_end(kept: bool, had_best: bool, expected: str | None, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    if kept:
        run.best.write_text("kept")
        run.keep_best()
    run.best.write_text("end")
    run.reopen(4, had_best)
    assert (run.best.read_text() if run.best.exists() else None) == expected
    assert os.listdir(tmp_path) == (["best.h5"] if expected else [])


def test_the_best_checkpoint_is_meant_or_else_the_last(own_run: Path) -> None:
    assert find_checkpoint(own_run) == own_run / "best.h5"
    assert find_checkpoint(own_run / "last.h5") == own_run / "last.h5"
    (own_run / "best.h5").unlink()
    assert find_checkpoint(own_run) == own_run / "last.h5"
    (own_run / "last.h5").unlink()
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(own_run)
    assert str(caught.value) == (f"{own_run}: no checkpoint found; expected best.h5 or last.h5 from `captioner train`")


def test_one_process_at_a_time(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = RunFolder(run)
    first.create(overwrite=False)
    first.write(first.config, "seed: 1\n")
    claims = (
        lambda: RunFolder(run).create(overwrite=True),
        lambda: RunFolder(run).create(overwrite=False),
        lambda: RunFolder(run).reopen(0),
    )
    for claim in claims:
        with pytest.raises(UsageError, match=rf"^{run}: another process trains in this folder; wait for it, or"):
            claim()
    assert first.config.read_text() == "seed: 1\n"
    del first
    gc.collect()
    RunFolder(run).create(overwrite=True)


def test_what_looks_like_a_run(own_run: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photo.png").write_bytes(b"x")
    renamed = (own_run / "last.h5").rename(tmp_path / "model")
    os.mkfifo(tmp_path / "pipe.h5")
    runs = [own_run, own_run / "best.h5", renamed]
    others = [
        tmp_path / "photos",
        tmp_path / "photo.png",
        tmp_path / "pipe.h5",
        tmp_path / "nope",
        Path("-"),
        Path("\0"),
    ]
    assert [is_run(path) for path in (*runs, *others)] == [True] * 3 + [False] * 6
    (own_run / "best.h5").unlink()
    assert not is_run(own_run), "a run without a checkpoint cannot speak"
