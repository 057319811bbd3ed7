"""Run folders are created, renamed, locked, and prepared to resume."""

import errno
import fcntl
import gc
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_runs import contents

from captioner.captioning.find_checkpoint import is_run
from captioner.config.yaml_io import dump, load
from captioner.errors import CaptionerError, UsageError
from captioner.files.checkpoint import Checkpoint, Meta
from captioner.training.run_folder import RunFolder, check_inputs


def test_create_makes_parent_folders(tmp_path: Path) -> None:
    RunFolder(tmp_path / "a" / "b").create(overwrite=False)
    assert os.listdir(tmp_path / "a" / "b") == []


@pytest.mark.parametrize("name", ["history.jsonl", "last.h5", "best.h5"])
def test_create_rejects_a_folder_with_a_file_of_a_run(name: str, tiny_run: Path, tmp_path: Path) -> None:
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
    assert contents(folder) == {}
    assert contents(tmp_path / "run.old") == before


AFTER_A_CHECKPOINT = {
    "history.jsonl": '{"kind": "validation", "step": 3}\n{"kind": "validation", "step": 6}\n',
    **dict.fromkeys(("report.html", "best.h5", "notes.txt"), "mine"),
}
"""Files that a run which was killed before its first checkpoint does not have."""


@pytest.mark.parametrize("name", [*AFTER_A_CHECKPOINT, "an end"])
def test_a_run_that_had_checkpoints_and_the_files_of_others_are_not_replaced(
    name: str, tiny_run: Path, tmp_path: Path
) -> None:
    shutil.copy(tiny_run / "config.yaml", tmp_path)
    if name in AFTER_A_CHECKPOINT:
        (tmp_path / name).write_text(AFTER_A_CHECKPOINT[name])
    else:
        (tmp_path / "history.jsonl").write_text('{"kind": "end", "step": 3, "ended": "diverged"}\n')
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=r"already contains a run; it has no last\.h5 to resume from"):
        RunFolder(tmp_path).create(overwrite=False)
    assert contents(tmp_path) == before


def test_create_accepts_a_folder_with_temporary_files_of_a_killed_run(tmp_path: Path) -> None:
    for name in ("config.yaml", "last.h5"):
        (tmp_path / f".{name}.999999999.tmp").touch()
    RunFolder(tmp_path).create(overwrite=False)
    assert os.listdir(tmp_path) == []


OTHERS = {
    "best.h5": b"\x89HDF\r\n\x1a\n of another program",
    "last.h5": b"",
    "config.yaml": b"seed: 1\n",
    "history.jsonl": b'{"kind": "visit", "step": 3}\n',
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


def test_an_overwritten_run_is_renamed_and_replaces_an_older_one(own_run: Path) -> None:
    (own_run / "notes.txt").write_text("mine")
    old, files = own_run.with_name(f"{own_run.name}.old"), contents(own_run)
    run = RunFolder(own_run)
    run.create(overwrite=True)
    assert contents(own_run) == {}
    assert contents(old) == files
    assert is_run(old)
    (old / "notes.txt").unlink()
    (old / ".last.h5.999999999.tmp").touch()
    run.write(run.config, dump(load(None)))
    run.log("validation", {"step": 1})
    run.log("validation", {"step": 2})
    del run
    gc.collect()
    newer = contents(own_run)
    RunFolder(own_run).create(overwrite=True)
    assert contents(old) == newer


@pytest.mark.parametrize("name", ["notes.txt", "last.h5"])
def test_files_of_the_user_in_an_older_folder_are_kept(name: str, own_run: Path) -> None:
    """Both runs stay as they are."""
    old, files = own_run.with_name(f"{own_run.name}.old"), contents(own_run)
    old.mkdir()
    (old / name).write_text("mine")
    found = "one with notes.txt" if name == "notes.txt" else "files of another program"
    with pytest.raises(UsageError, match=rf"^{old}: expected an older run to replace, got {found}; move it elsewhere$"):
        RunFolder(own_run).create(overwrite=True)
    assert contents(own_run) == files
    assert contents(old) == {name: b"mine"}


def test_an_older_run_that_is_being_trained_is_kept(own_run: Path) -> None:
    RunFolder(own_run).create(overwrite=True)
    old = RunFolder(own_run.with_name(f"{own_run.name}.old"))
    old.claim()
    shutil.copy(old.last, own_run)
    with pytest.raises(UsageError, match=rf"^{old.path}: another process trains in this folder"):
        RunFolder(own_run).create(overwrite=True)
    assert old.last.exists()


def test_of_a_symbolic_link_the_folder_is_renamed(own_run: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(own_run)
    files = contents(own_run)
    run = RunFolder(link)
    run.create(overwrite=True)
    run.write(run.config, "seed: 1\n")
    assert contents(own_run.with_name(f"{own_run.name}.old")) == files
    assert contents(own_run) == {"config.yaml": b"seed: 1\n"}


def test_an_older_run_behind_a_link_is_not_removed(own_run: Path, tiny_run: Path) -> None:
    other = Path(shutil.copytree(tiny_run, own_run.with_name("other")))
    mine, theirs = contents(own_run), contents(other)
    own_run.with_name(f"{own_run.name}.old").symlink_to(other)
    with pytest.raises(UsageError, match=r"\.old: expected the folder of an older run .*, got a link or a file"):
        RunFolder(own_run).create(overwrite=True)
    assert (contents(other), contents(own_run)) == (theirs, mine)


def test_a_file_at_the_path_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(UsageError, match=rf"^{tmp_path}/run: expected a folder for the run, got something else; "):
        RunFolder(tmp_path / "run").create(overwrite=False)
    with pytest.raises(CaptionerError, match=rf"^{tmp_path}/run/below: cannot create .*: Not a directory$"):
        RunFolder(tmp_path / "run" / "below").create(overwrite=False)


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
    run = tmp_path / "run"
    first, config = RunFolder(run), dump(load(None))
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


@pytest.mark.parametrize("name", ["run/d.h5", "run.old/d.h5", "run/cs231n", "run/link", "outside"])
def test_inputs_in_the_folders_that_a_run_replaces_are_an_error(name: str, tmp_path: Path) -> None:
    for folder in ("run", "run.old", "other"):
        (tmp_path / folder).mkdir()
    (tmp_path / "run" / "link").symlink_to(tmp_path / "other")
    (tmp_path / "outside").symlink_to(tmp_path / "run.old")
    (tmp_path / "alias").symlink_to(tmp_path / "run")
    for run in ("run", "alias"):
        check_inputs(tmp_path / run, None, tmp_path / "other", tmp_path / "run.older", tmp_path)
        with pytest.raises(
            UsageError, match=rf"^{tmp_path / name}: is in {tmp_path / run} or .*, which --overwrite repl"
        ):
            check_inputs(tmp_path / run, None, tmp_path / name)


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


@pytest.mark.filterwarnings("ignore:.*cannot be locked")
def test_a_replaced_folder_is_detected_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", no_locks)
    run = RunFolder(tmp_path / "run")
    with pytest.warns(UserWarning, match="run: cannot be locked .*; make sure that no other process writes there$"):
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


SAVED = Checkpoint(Meta("", [], 1, "", "", "", "", 3, None, 0, {}), {"w": np.ones(3)}, {}, {})
WRITES: dict[str, Callable[[RunFolder], None]] = {
    "last.h5": lambda run: run.save(SAVED),
    "best.h5": lambda run: run.keep_best(),
    "config.yaml": lambda run: run.write(run.config, "seed: 1\n"),
    "history.jsonl": lambda run: run.log("step", {"step": 1}),
}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A locked run folder with every file."""
    run = RunFolder(tmp_path / "run")
    run.create(overwrite=False)
    for write in WRITES.values():
        write(run)
    return run


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("replaced", [True, False])
def test_writing_to_a_moved_folder_fails(name: str, replaced: bool, run: RunFolder, tmp_path: Path) -> None:
    before, moved = contents(run.path), tmp_path / "moved run"
    run.path.rename(moved)
    if replaced:
        run.path.mkdir()
    with pytest.raises(CaptionerError, match=f"^{run.path / name}: cannot write: the run folder was moved or replaced"):
        WRITES[name](run)
    assert contents(moved) == before
    assert run.path.exists() == replaced
    assert not replaced or os.listdir(run.path) == []


def test_a_folder_moved_away_and_back_is_writable(run: RunFolder, tmp_path: Path) -> None:
    run.path.rename(tmp_path / "moved")
    (tmp_path / "moved").rename(run.path)
    for write in WRITES.values():
        write(run)
