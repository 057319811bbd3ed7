"""Full disks, read-only, removed or replaced folders, and a clock that runs backwards."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from captioner.config.yaml_io import load, parse
from captioner.errors import CaptionerError, CheckpointError
from captioner.inference.find_checkpoint import LAST
from captioner.storage import checkpoint
from captioner.storage.checkpoint import Checkpoint
from faults.processes import OPTIONS, Training, difference, uninterrupted
from faults.session import Row, Session
from faults.watch import Outcome

STEPS = 4_000
BACKWARDS = """
import sys, time
now = [2e9]
def earlier():
    now[0] -= 1.0
    return now[0]
time.time, time.time_ns = earlier, lambda: int(earlier() * 1e9)
from captioner.cli import main
main()
"""
WITHOUT_LOCKS = """
import errno, fcntl, os, stat

def no_locks(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

def sync_files_only(descriptor, fsync=os.fsync):
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    fsync(descriptor)

fcntl.flock, os.fsync = no_locks, sync_files_only
from captioner.cli import main
main()
"""
AS_NOBODY = """
import os
from captioner.cli import main
from captioner.training.run_folder import RunFolder

def as_nobody(do):
    def done(*args, **kwargs):
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        return do(*args, **kwargs)
    return done

# Drop privileges late: the user nobody may lack permission to read the libraries.
RunFolder.create, RunFolder.claim = as_nobody(RunFolder.create), as_nobody(RunFolder.claim)
main()
"""


def check_one_line_error(training: Training, folder: Path) -> str:
    """Check that a training fails with one line that names a file and a reason; return the problem or ""."""
    code, stderr = training.end(), training.stderr
    lines = [line for line in stderr.splitlines() if line.startswith("captioner: ")]
    if code != 1 or len(lines) != 1 or "Traceback" in stderr or not stderr.endswith(f"{lines[0]}\n"):
        return f"exit code {code}: {stderr[-400:]}"
    if not lines[0].startswith(f"captioner: {folder}") or ": cannot " not in lines[0]:
        return f"names no file and reason: {lines[0]}"
    return ""


def check_last_checkpoint(folder: Path) -> str:
    """Check that the last checkpoint is valid and no temporary file is left; return the problem or ""."""
    try:
        checkpoint.load(folder / LAST)
    except CheckpointError as error:
        return str(error)
    left = [path.name for path in folder.glob(".*.tmp")]
    return f"left behind: {left}" if left else ""


def outcome(problem: str) -> Outcome:
    return Outcome("wrong", problem) if problem else Outcome("reported, checkpoint valid")


def file_size(folder: Path, rng: np.random.Generator) -> Outcome:
    """Limit the file size, which simulates a full disk at any byte of any file."""
    training = Training(folder, 3)
    training.end()
    size = int(rng.integers(1, (folder / LAST).stat().st_size))
    training = Training(
        folder,
        STEPS,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        more=["-o", f"train.max_steps={STEPS}"],
    )
    return outcome(check_one_line_error(training, folder) or check_last_checkpoint(folder))


def full_disk(folder: Path, rng: np.random.Generator) -> Outcome:
    """Fill a small tmpfs while a training writes to it."""
    disk = folder.with_suffix(".disk")
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={int(rng.integers(400, 800))}k", "none", disk], check=True)
    try:
        training = Training(disk / "run", STEPS)
        if not training.until_it_saves():
            return Outcome("wrong", f"ended before: {training.stderr[-200:]}")
        with contextlib.suppress(OSError), open(disk / "others", "wb", buffering=0) as others:
            while True:
                others.write(rng.bytes(4096))
        return outcome(check_one_line_error(training, disk / "run") or check_last_checkpoint(disk / "run"))
    finally:
        subprocess.run(["umount", disk], check=True)


def read_only(folder: Path, rng: np.random.Generator) -> Outcome:
    """Start a new run below a read-only folder, or resume a run in one."""
    if rng.random() < 0.5:
        Training(folder, 3).end()
        before = (folder / LAST).read_bytes()
        os.chmod(folder, 0o555)
        training = Training(folder, 5, code=AS_NOBODY, more=["-o", "train.max_steps=5"])
        problem = check_one_line_error(training, folder) or check_last_checkpoint(folder)
        os.chmod(folder, 0o755)
        return outcome(problem or ("changed" if (folder / LAST).read_bytes() != before else ""))
    folder.mkdir(mode=0o555)
    training = Training(folder / "run", 5, code=AS_NOBODY)
    return outcome(check_one_line_error(training, folder / "run"))


def removed(folder: Path, rng: np.random.Generator) -> Outcome:
    """Remove or move the run folder during training."""
    training = Training(folder, STEPS)
    if not training.until_it_saves():
        return Outcome("wrong", f"ended before: {training.stderr[-200:]}")
    moved = folder.with_suffix(".moved")
    os.rename(folder, moved)
    if rng.random() < 0.5:
        shutil.rmtree(moved)
        return outcome(check_one_line_error(training, folder))
    return outcome(check_one_line_error(training, folder) or check_last_checkpoint(moved))


def path_blocked(folder: Path, rng: np.random.Generator) -> Outcome:
    """Replace a file of the run with a folder, or with a link to /dev/full."""
    training = Training(folder, STEPS)
    if not training.until_it_saves():
        return Outcome("wrong", f"ended before: {training.stderr[-200:]}")
    if rng.random() < 0.5:
        made = folder.with_suffix(".made")
        made.symlink_to("/dev/full")
        os.replace(made, folder / "history.jsonl")
        return outcome(check_one_line_error(training, folder) or check_last_checkpoint(folder))
    for _ in range(1000):  # retry until the folder is created between two renames of the training
        with contextlib.suppress(OSError):
            (folder / LAST).unlink()
            (folder / LAST).mkdir()
            (folder / LAST / "x").touch()
            break
    return outcome(check_one_line_error(training, folder))


CASES: Mapping[str, Callable[[Path, np.random.Generator], Outcome]] = {
    "file size limit (RLIMIT_FSIZE)": file_size,
    "a full disk (tmpfs)": full_disk,
    "a read-only folder": read_only,
    "the run folder removed or moved": removed,
    "a folder or /dev/full in place of a file": path_blocked,
}


def backwards(folder: Path, expected: checkpoint.Checkpoint) -> Outcome:
    """Train with a clock that goes back by a second at every read."""
    training = Training(folder, 12, OPTIONS, code=BACKWARDS)
    if training.end() != 0 or "-" in training.stderr.split("done after")[-1].split("->")[0]:
        return Outcome("wrong", training.stderr[-300:])
    problem = difference(checkpoint.load(folder / LAST), expected)
    return Outcome("wrong", problem) if problem else Outcome("bit-identical")


def without_locks(folder: Path, expected: checkpoint.Checkpoint) -> Outcome:
    """Train and resume on a file system that can neither lock files nor sync folders, as some network file systems."""
    for steps in (6, 12):
        training = Training(folder, steps, OPTIONS, code=WITHOUT_LOCKS, more=["-o", f"train.max_steps={steps}"])
        code, warnings = training.end(), training.stderr.count("captioner: warning: ")
        if (code, warnings, training.stderr.count(f"{folder}: cannot be locked (")) != (0, 1, 1):
            return Outcome("wrong", f"exit code {code}: {training.stderr[-300:]}")
    problem = difference(checkpoint.load(folder / LAST), expected)
    return Outcome("wrong", problem) if problem else Outcome("one warning, bit-identical")


def can_mount(folder: Path) -> bool:
    """Return whether this user may mount a tmpfs."""
    command: list[Any] = ["mount", "-t", "tmpfs", "-o", "size=16k", "none", folder]
    try:
        if subprocess.run(command, capture_output=True).returncode:
            return False
    except FileNotFoundError:
        return False
    subprocess.run(["umount", folder], check=True)
    return True


def measure(session: Session) -> Iterator[Row]:
    folder = session.folder("disks")
    for path in (session.scratch, folder):
        os.chmod(path, 0o755)  # an unprivileged user must be able to reach the run folder
    for index, (name, case) in enumerate(CASES.items()):
        if case is full_disk and not can_mount(folder):
            session.note(f"{name}: not tried, since this user may not mount one")
            continue
        must = "exit 1, one line with file and reason, last checkpoint valid"
        yield session.run_in_threads(
            name, must, lambda number, rng, case=case, index=index: case(folder / f"{index}-{number}", rng), 20
        )
    expected = uninterrupted(folder / "uninterrupted", 12)
    for fault, must, trial in (
        ("a clock that goes backwards", "bit-identical, no time below 0", backwards),
        ("a file system without locks and without sync of folders", "one warning, bit-identical", without_locks),
    ):
        yield session.run_in_threads(
            fault, must, lambda number, rng, trial=trial: trial(folder / f"{trial.__name__}-{number}", expected), 10
        )


FIRST, SECOND = "seed=1", "seed=2"
SECOND_STEPS = 60
"""Number of steps of the second training."""
SAVE_EVERY = (1, 200, 1_000)
"""Checkpoint intervals of the first training: it saves before the second starts, or while the second trains."""
LONG = ("data.scenes.train=800", "train.batch_size=4")
"""Options for epochs of 1,000 steps, each of which ends with a checkpoint."""
MOST_STEPS = 3_000
"""Maximum number of steps of the first training."""
SELDOM = tuple(option for option in OPTIONS if "_every" not in option)


def remove(folder: Path) -> None:
    """Remove the folder; retry if a file is written meanwhile."""
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


REPLACEMENTS: Mapping[str, Callable[[Path], object]] = {
    "moved": lambda folder: folder.rename(folder.with_suffix(".moved")),
    "removed": remove,
}


def replaced(
    how: str, folder: Path, expected: Checkpoint, every: int, rng: np.random.Generator, code: str = ""
) -> Outcome:
    """Run two trainings at one path; the second starts at a random time of the first."""
    seldom = f"train.save_every={every}", f"train.log_every={every}"
    first = Training(folder, MOST_STEPS, (*SELDOM, *LONG, *seldom, FIRST), code=code)
    if not first.until_it_saves():
        return Outcome("wrong", f"did not start: {first.stderr[-200:]}")
    time.sleep(0.3 * rng.random())
    REPLACEMENTS[how](folder)
    second = Training(folder, SECOND_STEPS, (*OPTIONS, SECOND))
    codes = first.end(), second.end()
    errors = [line for line in first.stderr.splitlines() if line.startswith("captioner: ")]
    if codes != (1, 0) or len(errors) != 1 or "Traceback" in first.stderr:
        return Outcome("wrong", f"exit codes {codes}: {first.stderr[-300:]} {second.stderr[-300:]}")
    # a file may be missing while the folder is being removed
    if not errors[0].startswith(f"captioner: {folder}") or ": cannot write" not in errors[0]:
        return Outcome("wrong", f"names no folder and reason: {errors[0]}")
    problem = check_second_run(folder, expected)
    if not problem and how == "moved":
        problem = check_moved_folder(folder.with_suffix(".moved"))
    return Outcome("wrong", problem) if problem else Outcome("stopped, files not mixed")


def check_second_run(folder: Path, expected: Checkpoint) -> str:
    """Check that all files belong to the second training; return the problem or ""."""
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    if [line["step"] for line in lines if line["kind"] == "step"] != list(range(1, SECOND_STEPS + 1)):
        return "history.jsonl: expected every step of the second training once"
    if f"seed={load(folder / 'config.yaml').seed}" != SECOND:
        return "config.yaml is another training's"
    if json.loads((folder / "summary.json").read_text())["steps"] != SECOND_STEPS:
        return "summary.json is another training's"
    if left := [path.name for path in folder.glob(".*.tmp")]:
        return f"left behind: {left}"
    return difference(checkpoint.load(folder / LAST), expected)


def check_moved_folder(folder: Path) -> str:
    """Check that the moved folder contains the first training only; return the problem or ""."""
    try:
        configs = parse(checkpoint.load(folder / LAST).meta.config, "the checkpoint"), load(folder / "config.yaml")
    except CaptionerError as error:
        return str(error)
    is_first = all(f"seed={config.seed}" == FIRST for config in configs)
    return "" if is_first else "the moved folder holds another training"


def measure_replaced(session: Session) -> Iterator[Row]:
    folder = session.folder("replaced")
    expected = uninterrupted(folder / "uninterrupted", SECOND_STEPS, (*OPTIONS, SECOND))
    for how in REPLACEMENTS:
        yield session.run_in_threads(
            f"the run folder {how} while training, and another training under its path",
            "exit 1 and one line; the files of the second are unaffected",
            lambda number, rng, how=how: replaced(
                how, folder / f"{how}-{number}", expected, SAVE_EVERY[number % len(SAVE_EVERY)], rng
            ),
            60,
        )
