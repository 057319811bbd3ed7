"""Run folders are created, overwritten, locked, and reopened to resume."""

import errno
import fcntl
import gc
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import contents

from captioner.config.options import Config
from captioner.config.yaml_io import dump
from captioner.errors import CaptionerError, UsageError
from captioner.files.checkpoint import Checkpoint, Meta
from captioner.inference.find_checkpoint import is_run
from captioner.training.resume import find_run
from captioner.training.run_folder import RunFolder


def test_create_makes_parent_folders(tmp_path: Path) -> None:
    RunFolder(tmp_path / "a" / "b").create(overwrite=False)
    assert os.listdir(tmp_path / "a" / "b") == []


EVIDENCE = ["config.yaml", "history.jsonl", "last.h5", "best.h5"]


@pytest.mark.parametrize("name", EVIDENCE)
def test_create_rejects_a_folder_with_a_file_of_a_run(name: str, tiny_run: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_run / name, tmp_path)
    content = (tmp_path / name).read_bytes()
    with pytest.raises(UsageError) as caught:
        RunFolder(tmp_path).create(overwrite=False)
    remedy = f"continue it with --resume {tmp_path}" if name == "last.h5" else "it has no last.h5 to resume from"
    assert str(caught.value) == (
        f"{tmp_path}: already contains a run; {remedy}, choose another folder with --run, "
        "or replace the run with --overwrite"
    )
    assert (tmp_path / name).read_bytes() == content
    run = RunFolder(tmp_path)
    run.create(overwrite=True)
    run.discard_previous()
    assert os.listdir(tmp_path) == []


def test_create_replaces_a_run_with_the_same_config_that_has_no_checkpoint(tiny_run: Path, tmp_path: Path) -> None:
    """The same command can be repeated after a kill before the first checkpoint."""
    shutil.copy(tiny_run / "config.yaml", tmp_path)
    lines = (tiny_run / "history.jsonl").read_text().splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if '"validation"' in line)
    (tmp_path / "history.jsonl").write_text("".join(lines[: first + 1]))  # a kill before best.h5 is written
    config = (tmp_path / "config.yaml").read_text()
    with pytest.raises(UsageError, match="already contains a run"):
        RunFolder(tmp_path).create(overwrite=False, config=config.replace("seed: 0", "seed: 1"))
    RunFolder(tmp_path).create(overwrite=False, config=config)
    assert contents(tmp_path) == {}
    for folder in (tmp_path, tmp_path / "before"):
        folder.mkdir(exist_ok=True)
        shutil.copy(tiny_run / "config.yaml", tmp_path)
        shutil.copy(tiny_run / "best.h5", folder)
        with pytest.raises(UsageError, match="already contains a run"):
            RunFolder(tmp_path).create(overwrite=False, config=config)
        (folder / "best.h5").unlink()


AFTER_A_CHECKPOINT = {
    "summary.json": '{"ended": "done"}',
    "history.jsonl": '{"kind": "validation", "step": 3}\n{"kind": "validation", "step": 6}\n',
    **dict.fromkeys(("captions.h5", "reranker.h5", "best.h5", "notes.txt"), "mine"),
}
"""Files that a run which was killed before its first checkpoint does not have."""


@pytest.mark.parametrize("name", AFTER_A_CHECKPOINT)
def test_a_run_that_had_checkpoints_and_the_files_of_others_are_not_replaced(
    name: str, tiny_run: Path, tmp_path: Path
) -> None:
    shutil.copy(tiny_run / "config.yaml", tmp_path)
    (tmp_path / name).write_text(AFTER_A_CHECKPOINT[name])
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=r"already contains a run; it has no last\.h5 to resume from"):
        RunFolder(tmp_path).create(overwrite=False, config=(tmp_path / "config.yaml").read_text())
    assert contents(tmp_path) == before


@pytest.mark.parametrize("moved", range(1, 5))
def test_a_command_killed_while_it_moves_the_previous_run_keeps_it(
    moved: int, own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, real, calls = contents(own_run), os.replace, iter(range(9))

    def replace(*paths: Path) -> None:
        if next(calls) == moved:
            raise KeyboardInterrupt
        real(*paths)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        RunFolder(own_run).create(overwrite=True)
    monkeypatch.undo()
    copy = Path(shutil.copytree(own_run, own_run.parent / "copy"))
    assert find_run(copy).path == copy
    assert contents(copy) == files, "`--resume` continues the run that was to be overwritten"
    RunFolder(own_run).create(overwrite=True)
    kept = contents(own_run / "before")
    assert {name: kept[name] for name in ("best.h5", "last.h5", "config.yaml", "history.jsonl")} == {
        name: content for name, content in files.items() if name != "summary.json"
    }


def test_create_accepts_a_folder_with_temporary_files_of_a_killed_run(tmp_path: Path) -> None:
    for name in ("config.yaml", "summary.json"):
        (tmp_path / f".{name}.999999999.tmp").touch()
    RunFolder(tmp_path).create(overwrite=False)
    assert os.listdir(tmp_path) == []


OTHERS = {
    "best.h5": b"\x89HDF\r\n\x1a\n of another program",
    "last.h5": b"",
    "config.yaml": b"seed: 1\n",
    "history.jsonl": b'{"kind": "visit", "step": 3}\n',
    "summary.json": b"{}",
    "photo.jpg": b"",
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", OTHERS)
def test_files_of_other_programs_are_no_run(name: str, overwrite: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(OTHERS[name])
    expected = "expected a run to replace, or a new" if overwrite else "expected a new"
    with pytest.raises(UsageError, match=rf"^{tmp_path}: {expected} or empty folder, got one with other files; choose"):
        RunFolder(tmp_path).create(overwrite)
    assert (tmp_path / name).read_bytes() == OTHERS[name]


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    for name in OTHERS:
        os.mkfifo(tmp_path / name)
    with pytest.raises(UsageError, match="got one with other files"):
        RunFolder(tmp_path).create(overwrite=True)


@pytest.mark.parametrize("number", range(5))
def test_a_file_that_cannot_be_moved_leaves_the_run_unchanged(
    number: int, own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {file: file.read_bytes() for file in own_run.rglob("*") if file.is_file()}
    replace, calls, failed = os.replace, [], []

    def immutable(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == number + 1:
            failed.append(source)
            raise PermissionError(1, "Operation not permitted")
        replace(source, target)

    monkeypatch.setattr(os, "replace", immutable)
    with pytest.raises(CaptionerError) as caught:
        RunFolder(own_run).create(overwrite=True)
    folder = own_run / "before" / failed[0].relative_to(own_run).parent
    problem = f"{failed[0]}: cannot be moved to {folder}: Operation not permitted"
    assert str(caught.value) == f"{problem}; the run is unchanged"
    assert {file: file.read_bytes() for file in own_run.rglob("*") if file.is_file()} == before


def test_files_that_cannot_be_moved_back_are_named(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace, calls = os.replace, []

    def failing(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) > 2:
            raise PermissionError(1, "Operation not permitted")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(CaptionerError) as caught:
        RunFolder(own_run).create(overwrite=True)
    moved = [own_run / "before" / name for name in ("history.jsonl", "config.yaml")]
    assert str(caught.value) == (
        f"{own_run}/last.h5: cannot be moved to {own_run}/before: Operation not permitted; "
        f"of the run, only {moved[0]}, {moved[1]} were moved"
    )
    assert all(file.exists() for file in moved)


def test_overwriting_removes_only_the_files_of_the_run(own_run: Path) -> None:
    for other in ("notes.txt", ".notes.7.tmp", "last.h5.old"):
        (own_run / other).touch()
    run = RunFolder(own_run)
    run.create(overwrite=True)
    run.discard_previous()
    assert sorted(os.listdir(own_run)) == [".notes.7.tmp", "last.h5.old", "notes.txt"]


def test_the_previous_run_is_kept_until_the_new_one_has_a_best_checkpoint(own_run: Path) -> None:
    files = {file.name: file.read_bytes() for file in own_run.iterdir()}
    for _ in range(3):  # a run without a best checkpoint does not replace it
        run = RunFolder(own_run)
        run.create(overwrite=True)
        assert {file.name: file.read_bytes() for file in run.previous.iterdir()} == files
        assert os.listdir(own_run) == ["before"]
        assert run.previous_run_note() == f"; the previous run is in {own_run}/before"
        assert is_run(run.previous)
        run.write(run.last, "new")
        del run
        gc.collect()
    with pytest.raises(UsageError, match="already contains a run"):
        RunFolder(own_run).create(overwrite=False)
    run = RunFolder(own_run)
    (run.previous / "notes.txt").touch()
    run.discard_previous()
    assert os.listdir(run.previous) == ["notes.txt"]
    assert run.previous_run_note() == ""


def test_an_overwritten_run_without_a_best_checkpoint_is_kept_too(own_run: Path) -> None:
    (own_run / "best.h5").unlink()
    last = (own_run / "last.h5").read_bytes()
    RunFolder(own_run).create(overwrite=True)
    assert (own_run / "before" / "last.h5").read_bytes() == last


def test_a_file_at_the_path_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(UsageError, match=rf"^{tmp_path}/run: expected a folder for the run, got something else; "):
        RunFolder(tmp_path / "run").create(overwrite=False)
    with pytest.raises(CaptionerError, match=rf"^{tmp_path}/run/below: cannot create .*: Not a directory$"):
        RunFolder(tmp_path / "run" / "below").create(overwrite=False)


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path, files_of_at_most: Callable) -> None:
    run = RunFolder(tmp_path)
    run.write(run.summary, "old")
    with files_of_at_most(100):
        for write in (lambda: run.write(run.summary, "x" * 200), lambda: run.log({"x": "x" * 200})):
            with pytest.raises(CaptionerError, match=r"(summary.json|history.jsonl): cannot write: File too large$"):
                write()
    assert run.summary.read_text() == "old"


def test_a_failed_copy_of_the_best_checkpoint_leaves_it_in_place(tmp_path: Path, files_of_at_most: Callable) -> None:
    run = RunFolder(tmp_path)
    run.best.write_bytes(b"x" * 200)
    with files_of_at_most(100), pytest.raises(CaptionerError, match=r"before-end.h5: cannot write: File too large$"):
        run.keep_best()
    assert os.listdir(tmp_path) == ["best.h5"]


@pytest.mark.parametrize(
    ("copied", "has_best", "expected"), [(True, True, "copied"), (False, True, "end"), (False, False, None)]
)
def test_reopening_restores_the_best_scheduled_checkpoint(
    copied: bool, has_best: bool, expected: str | None, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path)
    if copied:
        run.best.write_text("copied")
        run.keep_best()
    run.best.write_text("end")
    run.reopen(4, has_best)
    assert (run.best.read_text() if run.best.exists() else None) == expected
    assert os.listdir(tmp_path) == (["best.h5"] if expected else [])


def test_a_folder_is_locked_by_one_process_at_a_time(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first, config = RunFolder(run), dump(Config())
    first.create(overwrite=False)
    first.write(first.config, config)
    claims = (
        lambda: RunFolder(run).create(overwrite=True),
        lambda: RunFolder(run).create(overwrite=False),
        lambda: RunFolder(run).claim(),
    )
    for claim in claims:
        with pytest.raises(UsageError, match=rf"^{run}: another process trains in this folder; wait for it, or"):
            claim()
    assert first.config.read_text() == config
    del first
    gc.collect()
    RunFolder(run).create(overwrite=True)


def test_damaged_histories_are_no_run(tmp_path: Path) -> None:
    for content in (b"", b"[]", b"\xff", b"[" * 60_000, b'{"kind": []}', b'{"kind": "step"}', b"nul\n"):
        (tmp_path / "history.jsonl").write_bytes(content)
        assert not RunFolder(tmp_path).holds_run(), content


KEPT = b'{"kind": "step", "step": 2}\n{"kind": "step", "step": 4}\n{"kind": "validation", "step": 4}\n'
REMOVED = {
    "a later step": b'{"kind": "step", "step": 6}\n',
    "a line cut short by a kill": b'{"kind": "step", "ste',
    "other values": b'{}\n[]\n7\n{"step": null}\n\0\n',
    "bytes that are not UTF-8": b"\xff\xfe\x80\n",
    "deep nesting": b"[" * 100_000 + b"\n",
    "a huge step": b'{"kind": "step", "step": %s}\n' % (b"9" * 400),
    "no step": b'{"kind": "step", "step": NaN}\n{"kind": "step", "step": -1}\n',
    "a record of the end of the run": b'{"kind": "validation", "step": 4, "at_end": true}\n',
}


@pytest.mark.parametrize("name", REMOVED)
def test_reopening_removes_lines_of_the_history(name: str, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.history.write_bytes(KEPT + REMOVED[name])
    run.reopen(4)
    assert run.history.read_bytes() == KEPT


def no_locks(*_: object) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


@pytest.mark.filterwarnings("ignore:.*cannot be locked")
def test_a_replaced_folder_is_detected_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", no_locks)
    run = RunFolder(tmp_path / "run")
    run.create(overwrite=False)
    run.write(run.config, "seed: 1\n")
    run.path.rename(tmp_path / "moved")
    run.path.mkdir()
    other = RunFolder(tmp_path / "run")
    other.create(overwrite=False)
    with pytest.raises(CaptionerError, match="cannot write: the run folder was moved or replaced during the training"):
        run.write(run.config, "seed: 2\n")
    assert not other.config.exists()
    other.write(other.config, "seed: 3\n")


SAVED = Checkpoint(Meta("", [], 1, "", "", [], 3, None, 0, {}, ""), {"w": np.ones(3)}, {}, {})
MOVED = "the run folder was moved or replaced during the training"
WRITES: dict[str, Callable[[RunFolder], None]] = {
    "last.h5": lambda run: run.save(run.last, SAVED),
    "best.h5": lambda run: run.save(run.best, SAVED),
    "config.yaml": lambda run: run.write(run.config, "seed: 1\n"),
    "summary.json": lambda run: run.write(run.summary, "{}\n"),
    "history.jsonl": lambda run: run.log({"step": 1}),
}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A locked run folder with every file."""
    run = RunFolder(tmp_path / "run")
    run.create(overwrite=False)
    for write in WRITES.values():
        write(run)
    return run


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def write_error(write: Callable[[RunFolder], None], run: RunFolder, name: str) -> str:
    with pytest.raises(CaptionerError) as caught:
        write(run)
    message = str(caught.value)
    assert message.startswith(f"{run.path / name}: cannot write: {MOVED}")
    assert message.isprintable()
    return message.removeprefix(f"{run.path / name}: cannot write: {MOVED}")


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("replaced", [True, False])
def test_writing_to_a_moved_folder_fails(name: str, replaced: bool, run: RunFolder, tmp_path: Path) -> None:
    before, moved = content(run.path), tmp_path / "moved run"
    run.path.rename(moved)
    if replaced:
        run.path.mkdir()
    remedy = f"; its files are in {moved}: try --resume '{moved}'"
    where = write_error(WRITES[name], run, name)
    if Path("/proc/self/fd").exists():
        assert where == remedy
    assert content(moved) == before
    assert run.path.exists() == replaced
    assert not replaced or os.listdir(run.path) == []


@pytest.mark.parametrize("name", WRITES)
def test_writing_to_a_removed_folder_fails(name: str, run: RunFolder) -> None:
    shutil.rmtree(run.path)
    run.path.mkdir()
    where = write_error(WRITES[name], run, name)
    if Path("/proc/self/fd").exists():
        assert where == ", and its files were removed; train again, with --run and another folder"
    assert os.listdir(run.path) == []


def test_no_resume_is_suggested_without_a_checkpoint(run: RunFolder, tmp_path: Path) -> None:
    run.last.unlink()
    run.path.rename(tmp_path / "moved")
    assert "--resume" not in write_error(WRITES["last.h5"], run, "last.h5")


@pytest.mark.parametrize("name", ["last.h5", "config.yaml"])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_folder_replaced_during_a_write(
    call: str, name: str, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, moved, real = content(run.path), tmp_path / "moved", getattr(os, call)

    def swap(*args: Any) -> None:
        if not moved.exists():
            run.path.rename(moved)
            run.path.mkdir()
        real(*args)

    monkeypatch.setattr(os, call, swap)
    write_error(WRITES[name], run, name)
    assert os.listdir(run.path) == []
    assert {file: was for file, was in content(moved).items() if not file.endswith(".tmp")} == before


def test_the_previous_run_in_another_folder_is_kept(run: RunFolder, tmp_path: Path) -> None:
    run.path.rename(tmp_path / "moved")
    run.previous.mkdir(parents=True)
    (run.previous / "best.h5").touch()
    with pytest.raises(CaptionerError, match=MOVED):
        run.discard_previous()
    assert os.listdir(run.previous) == ["best.h5"]


def test_a_folder_moved_away_and_back_is_writable(run: RunFolder, tmp_path: Path) -> None:
    run.path.rename(tmp_path / "moved")
    (tmp_path / "moved").rename(run.path)
    for write in WRITES.values():
        write(run)
