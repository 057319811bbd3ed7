"""Run folders are created, renamed, locked, and prepared to resume."""

import errno
import fcntl
import gc
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from small_runs import contents

from captioner.errors import CaptionerError, UsageError
from captioner.training.resume import find_run
from captioner.training.run_folder import RunFolder, check_inputs

NEW = {"history.jsonl": b""}
"""The files of a new run before its config is written."""


@pytest.mark.parametrize("name", ["last.h5", "best.h5", "history.jsonl"])
def test_a_folder_of_a_run_is_replaced_only_with_overwrite(name: str, tiny_run: Path, tmp_path: Path) -> None:
    """Also one whose checkpoints were deleted: its history has an end."""
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(tiny_run / name, folder)
    before = contents(folder)
    with pytest.raises(UsageError) as caught:
        RunFolder(folder).create(overwrite=False)
    remedy = f"continue it with --resume {folder}" if name == "last.h5" else "it has no last.h5 to resume from"
    assert str(caught.value) == (
        f"{folder}: already contains a run; {remedy}, choose another folder with --run, "
        "or replace the run with --overwrite"
    )
    assert contents(folder) == before
    RunFolder(folder).create(overwrite=True)
    assert contents(folder) == NEW
    assert contents(tmp_path / "run.old") == before


STARTED = '{"kind": "init_from", "step": 0}\n{"kind": "step", "step": 4}\n{"kind": "validation", "step": 4}\n'


def test_a_run_killed_before_its_first_checkpoint_is_replaced(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for size in range(len(STARTED) + 1):
        run.history.write_text(STARTED[:size])
        run.config.touch()
        RunFolder(tmp_path).create(overwrite=False)
        assert run.history.read_bytes() == b""
    run.history.write_text(STARTED + '{"kind": "validation", "step": 8}\n')
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=r"already contains a run; it has no last\.h5 to resume from, choose"):
        RunFolder(tmp_path).create(overwrite=False)
    assert contents(tmp_path) == before


MINE = [("config.yaml", ""), ("photo.jpg", ""), ("history.jsonl", '{"command": "ls"}\n'), ("history.jsonl", "mine")]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(("name", "text"), MINE)
def test_a_folder_with_other_files_is_left_alone(name: str, text: str, overwrite: bool, tmp_path: Path) -> None:
    """Without a history of a run, config.yaml is a file of the user; beside one, only other files are."""
    (tmp_path / name).write_text(text)
    if name != "config.yaml":
        (tmp_path / "history.jsonl").touch()
    before = contents(tmp_path)
    expected = "expected a run to replace, or a new" if overwrite else "expected a new"
    with pytest.raises(UsageError, match=rf"^{tmp_path}: {expected} or empty folder, got one with other files; choose"):
        RunFolder(tmp_path).create(overwrite)
    assert contents(tmp_path) == before


def test_an_overwritten_run_is_renamed_and_replaces_an_older_one(own_run: Path) -> None:
    for name in ("notes.txt", ".last.h5.999999999.tmp"):
        (own_run / name).touch()
    old, files = own_run.with_name(f"{own_run.name}.old"), contents(own_run)
    RunFolder(own_run).create(overwrite=True)
    assert contents(own_run) == NEW
    assert contents(old) == files
    shutil.copy(old / "last.h5", own_run)
    newer = contents(own_run)
    with pytest.raises(UsageError, match=rf"^{old}: expected an older run to replace, got other files; move it else"):
        RunFolder(own_run).create(overwrite=True)
    assert (contents(own_run), contents(old)) == (newer, files)
    (old / "notes.txt").unlink()
    RunFolder(own_run).create(overwrite=True)
    assert contents(old) == newer


def test_an_older_run_in_which_another_process_trains_is_not_removed(own_run: Path) -> None:
    RunFolder(own_run).create(overwrite=True)
    shutil.copy(own_run.with_name(f"{own_run.name}.old") / "last.h5", own_run)
    old = RunFolder(own_run.with_name(f"{own_run.name}.old"))
    old.claim()
    before = contents(own_run), contents(old.path)
    with pytest.raises(UsageError, match=rf"^{old.path}: another process trains in this folder; "):
        RunFolder(own_run).create(overwrite=True)
    assert (contents(own_run), contents(old.path)) == before


@pytest.mark.parametrize("left", [(), ("config.yaml",), ("best.h5", "history.jsonl")])
def test_an_overwrite_that_was_killed_can_be_repeated(left: Sequence[str], own_run: Path) -> None:
    """It removes the files of RUN.old in any order, and then the folder."""
    old, files = own_run.with_name(f"{own_run.name}.old"), contents(own_run)
    old.mkdir()
    for name in left:
        shutil.copy(own_run / name, old)
    RunFolder(own_run).create(overwrite=True)
    assert contents(old) == files


def test_of_a_symbolic_link_the_folder_is_renamed(own_run: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(own_run)
    files = contents(own_run)
    RunFolder(link).create(overwrite=True)
    assert contents(own_run.with_name(f"{own_run.name}.old")) == files
    assert contents(link) == NEW


def test_a_file_or_an_older_run_behind_a_link_is_not_removed(own_run: Path, tiny_run: Path) -> None:
    other, old = Path(shutil.copytree(tiny_run, own_run.with_name("other"))), own_run.with_name(f"{own_run.name}.old")
    mine, theirs = contents(own_run), contents(other)
    for make in (lambda: old.symlink_to(other), old.touch):
        make()
        with pytest.raises(UsageError, match=r"\.old: expected an older run to replace"):
            RunFolder(own_run).create(overwrite=True)
        assert (contents(other), contents(own_run)) == (theirs, mine)
        old.unlink()


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path, files_of_at_most: Callable) -> None:
    run = RunFolder(tmp_path)
    run.write(run.config, "old")
    run.last.write_bytes(b"x" * 200)
    writes = lambda: run.write(run.config, "x" * 200), lambda: run.log("step", {"x": "x" * 200}), run.keep_best
    with files_of_at_most(100):
        for write, name in zip(writes, ("config.yaml", "history.jsonl", "best.h5"), strict=True):
            with pytest.raises(CaptionerError, match=rf"{name}: cannot write: File too large$"):
                write()
    assert run.config.read_text() == "old"
    assert not run.best.exists()


def test_a_folder_is_locked_by_one_process_at_a_time(tmp_path: Path) -> None:
    run = tmp_path / "new" / "run"
    first = RunFolder(run)
    first.create(overwrite=False)
    claims = (
        lambda: find_run(run),
        lambda: RunFolder(run).create(overwrite=True),
        lambda: RunFolder(run).create(overwrite=False),
        lambda: RunFolder(run).claim(),
    )
    for claim in claims:
        with pytest.raises(UsageError, match=rf"^{run}: another process trains in this folder; wait for it, or"):
            claim()
    del first
    gc.collect()
    RunFolder(run).create(overwrite=True)


def test_a_folder_that_another_process_replaces_before_it_is_locked(
    own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, other = fcntl.flock, RunFolder(own_run)

    def replace_and_lock(descriptor: int, flags: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        other.create(overwrite=True)
        flock(descriptor, flags)

    monkeypatch.setattr(fcntl, "flock", replace_and_lock)
    with pytest.raises(UsageError, match=rf"^{own_run}: another process trains in this folder; "):
        RunFolder(own_run).create(overwrite=True)


@pytest.mark.parametrize("name", ["run/d.h5", "run.old/d.h5", "run/cs231n", "outside"])
def test_inputs_in_the_folders_that_a_run_replaces_are_an_error(name: str, tmp_path: Path) -> None:
    for folder in ("run", "run.old", "other"):
        (tmp_path / folder).mkdir()
    (tmp_path / "outside").symlink_to(tmp_path / "run.old")
    (tmp_path / "alias").symlink_to(tmp_path / "run")
    for run in ("run", "alias"):
        check_inputs(tmp_path / run, None, tmp_path / "other", tmp_path / "run.older", tmp_path)
        with pytest.raises(
            UsageError, match=rf"^{tmp_path / name}: is in {tmp_path / run} or .*, which --overwrite repl"
        ):
            check_inputs(tmp_path / run, None, tmp_path / name)


KEPT = b'{"kind": "step", "step": 2}\n{"kind": "step", "step": 4}\n{"kind": "validation", "step": 4}\n'
REMOVED = {
    "a later step": b'{"kind": "step", "step": 6}\n',
    "a line cut short by a kill": b'{"kind": "step", "ste',
    "bytes that are not UTF-8": b"\xff\xfe\x80\n",
    "records of the end of the run": b'{"kind": "validation", "step": 4, "at_end": true}\n{"kind": "end", "step": 4}\n',
}


@pytest.mark.parametrize("name", REMOVED)
def test_resuming_removes_lines_of_the_history(name: str, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.history.write_bytes(KEPT + REMOVED[name])
    run.forget_after(4)
    assert run.history.read_bytes() == KEPT


def no_locks(*_: object) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_a_file_system_without_locks_is_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.warns(UserWarning, match="run: cannot be locked .*; make sure that no other process writes there$"):
        RunFolder(tmp_path / "run").create(overwrite=False)
