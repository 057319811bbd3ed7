"""Full disks, and folders that are read-only, removed or blocked."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from captioner.captioning.find_checkpoint import LAST
from captioner.errors import CheckpointError
from captioner.files import checkpoint
from faults.processes import Training
from faults.session import Row, Session
from faults.watch import Outcome

STEPS = 4_000
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
