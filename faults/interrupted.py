"""Commands that are killed at a use of a file, or run out of disk: repeated, they end as if nothing had happened."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from captioner.photos.album import Album
from captioner.training.run_folder import RunFolder
from faults.materials import make_album, make_run
from faults.resumed import compare
from faults.session import ROOT, TINY, Outcome, Row, Session

KILLED = """
import atexit, os, signal, sys
folder, before = sys.argv.pop(1), int(sys.argv.pop(1))

def kill(event, args):
    global before
    if event in ("open", "os.rename", "os.remove") and str(args[0]).startswith(folder):
        before -= 1
        if not before:
            os.kill(os.getpid(), signal.SIGKILL)

from captioner.cli import main
sys.addaudithook(kill)
atexit.register(lambda: print(f"uses left: {before}"))
main()
"""
"""Run a command, and kill it before the n-th use of a file in a folder; else print how many more uses were left."""
NEVER = 1_000_000
ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
MOST_SECONDS = 100.0
PAGE = 4096
"""The unit in which a tmpfs allocates memory."""
OPTIONS = (
    *TINY, "threads=2", "model.hidden_dim=8", "model.attention=adaptive", "model.attention_dim=4",
    "model.dropout_hidden=0.3", "train.epochs=2", "train.save_every=2", "train.log_every=1",
    "train.learning_rate=0.01", "train.ema_decay=0.9", "decode.max_length=8",
)  # fmt: skip
"""Options of a run whose result depends on the order of the data, dropout, optimizer and average."""
COMMANDS: Mapping[str, str] = {
    "train": f"train --resume-or-start {{folder}} {' '.join(f'--set={option}' for option in OPTIONS)}",
    "prepare": "prepare {inputs}/album/captions.csv --output {folder}/out.h5 --encoder scenes",
    "sample": "sample {inputs}/run --split val --write {folder}/captions.csv",
    "caption": "caption {folder} --model {inputs}/run --album {folder}/album.db --write {folder}/captions.csv "
    "--write lightroom",
    "album": "album --album {folder}/album.db --add {folder}/other.db --export {folder}/captions.csv",
    "export": "export {inputs}/run --output {folder}/model.h5",
}


MADE: Mapping[str, str] = {"caption": "photos", "album": "albums"}
"""The folder whose files a command begins with."""
KEPT = ".png", "other.db"
"""The ends of the names of files that a command does not write."""
CORRECTION = "Anna in Brunate"


class Ended(NamedTuple):
    """The exit code of a command, its messages and, if it was not killed, how often it used files of the folder."""

    code: int
    stderr: str
    uses: int = 0

    @property
    def problem(self) -> str:
        return f"exit code {self.code}: {self.stderr[-400:]}"


@dataclass(frozen=True)
class Command:
    """A command of the table, its inputs, and the folder that it wrote without an interruption."""

    name: str
    inputs: Path
    whole: Path

    def make(self, folder: Path) -> Path:
        """Make the folder that the command writes into, with photographs for `caption`, or with an album, another one
        that it adds, and a corrected table for `album`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for file in (self.inputs / MADE[self.name]).glob("*") if self.name in MADE else ():
            shutil.copy(file, folder)
        return folder

    def run(self, folder: Path, kill_at: int = NEVER, most_bytes: int = -1) -> Ended:
        """Run it; kill it before it uses a file of the folder for the `kill_at`th time, or limit the size of files."""
        words = COMMANDS[self.name].format(folder=folder, inputs=self.inputs).split()
        done = subprocess.run(
            [sys.executable, "-c", KILLED, folder, str(kill_at), *words],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=MOST_SECONDS,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes)),
        )
        found = re.search(r"uses left: (-?\d+)", done.stdout)
        return Ended(done.returncode, done.stderr, NEVER - int(found[1]) if found else 0)

    def repeat(self, folder: Path, problem: str, fault: str) -> Outcome:
        """Repeat the interrupted command, unless it had a problem, and compare its files with the expected ones."""
        if not problem:
            ended = self.run(folder)
            has_failed = "Traceback" in ended.stderr or ended.code not in (0, 2)  # 2: a whole file is not replaced
            problem = ended.problem if has_failed else folder_difference(folder, self.whole)
        return Outcome("wrong", f"{self.name}, {fault}: {problem}") if problem else Outcome("completed")

    def sizes(self) -> list[int]:
        """Return the sizes of the files that the command writes."""
        return [path.stat().st_size for path in self.whole.iterdir() if not path.name.endswith(KEPT)]


Trials: TypeAlias = Sequence[tuple[Command, int]]
"""The command of each trial, and the use of a file before which it is killed, or a seed."""


def kill(trials: Trials, folder: Path, number: int) -> Outcome:
    """Kill a command before a use of a file."""
    command, use = trials[number]
    here = command.make(folder / f"{number}")
    ended = command.run(here, kill_at=use)
    return command.repeat(here, "" if ended.code == -signal.SIGKILL else ended.problem, f"killed at use {use}")


def limit_file_size(trials: Trials, folder: Path, number: int) -> Outcome:
    """Limit the size of files, so that a command fails at any byte of its largest one."""
    command, seed = trials[number]
    here = command.make(folder / f"{number}")
    size = int(np.random.default_rng(seed).integers(1, max(command.sizes())))
    return command.repeat(here, one_line(command.run(here, most_bytes=size), here), f"files of {size} bytes")


def fill_disk(trials: Trials, folder: Path, number: int) -> Outcome:
    """Write to a disk with fewer pages than the files need, a tmpfs, and repeat the command on a larger one."""
    command, seed = trials[number]
    disk = folder / f"{number}"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=10M", "none", disk)
    try:
        here = command.make(disk / "out")
        used, needed = pages(path.stat().st_size for path in here.iterdir()), pages(command.sizes())
        (disk / "filler").write_bytes(bytes(PAGE))  # a tmpfs of no page has no limit
        free = int(np.random.default_rng(seed).integers(needed))
        mount("-o", f"remount,size={(used + 1 + free) * PAGE}", disk)
        problem = one_line(command.run(here), here)
        mount("-o", "remount,size=10M", disk)
        return command.repeat(here, problem, f"{free} pages free")
    finally:
        subprocess.run(["umount", disk], check=True)


def mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True, capture_output=True)


def pages(sizes: Iterable[int]) -> int:
    return sum(-(-size // PAGE) for size in sizes)


def one_line(ended: Ended, folder: Path) -> str:
    """Check that a command failed with a line for each file, which has the reason; return the problem or ""."""
    lines = [line for line in ended.stderr.splitlines() if line.startswith("captioner: ") and ": warning: " not in line]
    if ended.code != 1 or not lines or "Traceback" in ended.stderr:
        return ended.problem
    if nameless := [line for line in lines if not line.startswith(f"captioner: {folder}") or ": cannot " not in line]:
        return f"names no file and reason: {nameless[0]}"
    left = [path.name for path in folder.glob(".*.tmp")]
    return f"left behind: {left}" if left else ""


def content_of(path: Path) -> bytes:
    """Return the bytes of a file; of a table, numbers as exact as they are in batches of other photographs."""
    if path.suffix == ".db":  # without the times and the numbers of files
        with Album(path) as album:
            album.check()
            entries = sorted((entry.path.name, entry.id, entry.caption.text, entry.model) for entry in album.entries())
            return repr((entries, [export.name for export in album.exports()])).encode()
    content = path.read_bytes()
    if path.suffix == ".csv":  # without folders, numbers of corrections and names of albums
        content = re.sub(rb"\d+\.\d+", lambda number: b"%.2f" % float(number[0]), content)
        content = re.sub(rb'"[^"\n]*/', b'"', content)
        content = re.sub(rb"-\d+-[0-9a-f]{6}", b"", content)
    return content


def folder_difference(folder: Path, whole: Path) -> str:
    """Compare the files of two folders; return the first difference or ""."""
    files, expected = ({path.name: content_of(path) for path in part.iterdir()} for part in (folder, whole))
    if files.keys() != expected.keys():
        return f"files: {sorted(files.keys() ^ expected.keys())}"
    if "last.h5" in files:
        return compare(RunFolder(folder), RunFolder(whole))
    return next((f"{name} differs" for name in files if files[name] != expected[name]), "")


def commands(folder: Path, names: Iterable[str] = COMMANDS) -> dict[Command, Ended]:
    """Run commands without an interruption; return how each ended."""
    make_album(folder / "album")
    make_album(folder / "photos").joinpath("captions.csv").unlink()
    make_run(folder / "run")
    ends: dict[Command, Ended] = {}
    for number, name in enumerate(names):
        if name == "album":
            make_albums(folder, next(command.whole for command in ends if command.name == "caption"))
        command = Command(name, folder, folder / f"whole-{number}")
        ended = command.run(command.make(command.whole))
        if ended.code:
            raise RuntimeError(ended.problem)
        ends[command] = ended
    return ends


def make_albums(folder: Path, captioned: Path) -> None:
    """Make an album without its last photographs, one that has them, and a table in which a person wrote."""
    (folder / "albums").mkdir()
    for name in ("album.db", "other.db"):
        shutil.copy(captioned / "album.db", folder / "albums" / name)
    with Album(folder / "albums" / "other.db") as album:
        *_, last = album.entries()
        album.correct(last.id, (CORRECTION, []), "elsewhere")
    table = (captioned / "captions.csv").read_text("utf-8-sig").splitlines()
    cells = table[1].split('","')
    table[1] = '","'.join((cells[0], CORRECTION, *cells[2:]))
    (folder / "albums" / "captions.csv").write_text("\r\n".join(table))


def measure(session: Session) -> Iterator[Row]:
    folder = session.folder("interrupted")
    ends = commands(folder)
    trials: Trials = [(command, use) for command, ended in ends.items() for use in range(1, ended.uses + 1)]
    yield session.run(
        "SIGKILL before each use of a file by train, prepare, sample, caption, album and export",
        "the same command completes, with the same files; a run ends bit-identical",
        partial(kill, trials, session.folder("killed")),
        len(trials),
    )
    # an album may be as long before as after
    trials = [(command, session.seed + seed) for command in ends if command.name != "album" for seed in range(10)]
    must = "exit 1, one line with file and reason, no temporary file; then the same command completes"
    limited = partial(limit_file_size, trials, session.folder("limited"))
    yield session.run("file size limit (RLIMIT_FSIZE)", must, limited, len(trials))
    try:
        mount("-t", "tmpfs", "none", disks := session.folder("disks"))
    except (subprocess.CalledProcessError, FileNotFoundError):
        session.note("a full disk: not tried, since this user may not mount one")
        return
    subprocess.run(["umount", disks], check=True)
    yield session.run("a full disk (tmpfs)", must, partial(fill_disk, trials, disks), len(trials))
