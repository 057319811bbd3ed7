"""Compatibility of files between the lowest declared and the newest versions of the libraries."""

from __future__ import annotations

import configparser
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.version import Version

from faults.materials import make_album
from faults.session import ENVIRONMENT, ROOT, TINY, Row, Session, row, settings
from faults.watch import Outcome, Tally

LOWEST_PYTHON = (3, 11)
"""Minimum of python_requires: the lowest library versions may lack wheels for later Python versions."""
SECONDS = 300.0
CONTENT = """
import sys
from pathlib import Path
from faults.damaged import KINDS
kind = KINDS[sys.argv[1]]
print(kind.content(kind.read(Path(sys.argv[2]))))
"""
VERSIONS = """
import sys
from importlib.metadata import version
print(", ".join(f"{name} {version(name)}" for name in sys.argv[1:]))
"""


class CommandError(Exception):
    """A command failed; the message contains its last line of stderr."""


class Written(NamedTuple):
    """A file, and its content digest in the environment that wrote it."""

    path: Path
    content: str


def run(python: Path, *words: object, code: str = "") -> str:
    """Run a command in an environment and return its stdout. Raises: CommandError."""
    start = ("-c", code) if code else ("-m", "captioner")
    command = [str(python), *start, *map(str, words)]
    try:
        done = subprocess.run(
            command, env=ENVIRONMENT, capture_output=True, text=True, errors="replace", timeout=SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandError(f"{' '.join(command[1:4])}: {error}") from error
    if done.returncode:
        last_line = (done.stderr.strip() or "nothing on stderr").splitlines()[-1]
        raise CommandError(f"{' '.join(map(str, words))}: exit code {done.returncode}: {last_line}")
    return done.stdout.strip()


def content(python: Path, kind: str, path: Path) -> str:
    return run(python, kind, path, code=CONTENT)


def write_checkpoint(python: Path, folder: Path) -> Written:
    run(python, "train", "--run", folder, *settings([*TINY, "train.max_steps=3", "train.update_rule=adam"]))
    path = folder / "last.h5"
    return Written(path, content(python, "checkpoint", path))


def read_checkpoint(python: Path, written: Written) -> None:
    """Check the content, caption images, and resume training."""
    _compare(content(python, "checkpoint", written.path), written)
    folder = written.path.parent
    if not run(python, "sample", folder, "--split", "val", "-n", "2"):
        raise CommandError("sample: no captions")
    run(python, "train", "--resume", folder, "-o", "train.max_steps=5")
    content(python, "checkpoint", written.path)


def write_prepared(python: Path, folder: Path) -> Written:
    album, path = make_album(folder), folder / "data.h5"
    options = ("--val", "0.25", "--min-count", "1", "--encoder", "scenes", "--output", path)
    run(python, "prepare", album / "captions.csv", *options)
    return Written(path, content(python, "data set", path))


def read_prepared(python: Path, written: Written) -> None:
    _compare(content(python, "data set", written.path), written)
    run(python, "data", "check", written.path)


def _compare(got: str, written: Written) -> None:
    if got != written.content:
        raise CommandError(f"{written.path.name}: other content than its writer reads")


FILES: Mapping[str, tuple[Callable[[Path, Path], Written], Callable[[Path, Written], None]]] = {
    "checkpoints": (write_checkpoint, read_checkpoint),
    "data sets": (write_prepared, read_prepared),
}
"""Writer and reader of each kind of file; a reader raises `CommandError` on failure."""


def trial(files: str, writer: Path, reader: Path, folder: Path) -> Outcome:
    """Write one kind of file in one environment and read it in another."""
    write, read = FILES[files]
    try:
        read(reader, write(writer, folder))
    except CommandError as failure:
        return Outcome("wrong", f"{writer} to {reader}: {failure}")
    return Outcome("read by the other")


def declared(path: Path = ROOT / "setup.cfg") -> list[Requirement]:
    """Parse the libraries of the core and of the extras for photographs and pages in setup.cfg."""
    parser = configparser.ConfigParser()
    parser.read(path)
    extras = "\n".join(parser["options.extras_require"][name] for name in ("images", "report", "web"))
    lines = f"{parser['options']['install_requires']}\n{extras}".splitlines()
    return [Requirement(line) for line in dict.fromkeys(lines) if line]


def lowest_versions(requirements: Iterable[Requirement], python: str | None = None) -> dict[str, str]:
    """Return the lowest versions that requirements allow for a version of Python, such as 3.13, or the running one."""
    lowest: dict[str, str] = {}
    environment = {"python_version": python} if python else None
    for requirement in requirements:
        if requirement.marker is None or requirement.marker.evaluate(environment):
            for specifier in requirement.specifier:
                if specifier.operator == ">=":
                    lowest[requirement.name] = max(lowest.get(requirement.name, "0"), specifier.version, key=Version)
    return lowest


def install(folder: Path, libraries: list[str]) -> str:
    """Create a virtual environment; return pip's error or ""."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "--disable-pip-version-check"]
    done = subprocess.run([*pip, "install", "--quiet", *libraries], capture_output=True, text=True, errors="replace")
    return (done.stderr.strip().splitlines() or ["pip failed"])[-1] if done.returncode else ""


def measure(session: Session) -> Iterator[Row]:
    folder = session.folder("versions")
    floors = lowest_versions(declared())
    pythons = {name: folder / name / "bin" / "python" for name in ("lowest", "newest")}
    if problem := install(folder / "newest", list(floors)):  # only the package registry can cause this
        session.note(f"versions: not tried, since pip could not install {', '.join(floors)}: {problem}")
        return
    if problem := install(folder / "lowest", [f"{name}=={version}" for name, version in floors.items()]):
        if sys.version_info[:2] > LOWEST_PYTHON:
            session.note(f"versions: not tried, since the lowest are for Python 3.11 and may not install: {problem}")
            return
        tally = Tally()
        tally.add(0, Outcome("wrong", problem))
        yield row("the lowest declared versions", "pip installs them together", tally)
        return
    for name, python in pythons.items():
        libraries = run(python, "numpy", "h5py", code=VERSIONS)
        session.note(f"versions: {name}: {libraries}")
    for files in FILES:
        tally = Tally()
        for number, (writer, reader) in enumerate(product(pythons, repeat=2)):
            where = folder / f"{files}-{number}".replace(" ", "-")
            tally.add(number, trial(files, pythons[writer], pythons[reader], where))
        must = "each version reads or continues the files of the other"
        yield row(f"{files}: lowest and newest libraries", must, tally)
