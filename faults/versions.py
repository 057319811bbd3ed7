"""Compatibility of files between the lowest declared and the newest versions of the libraries."""

from __future__ import annotations

import configparser
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.version import Version

from faults.materials import make_album
from faults.session import ENVIRONMENT, ROOT, SMALL, Row, Session, row, settings
from faults.watch import Outcome, Tally

LOWEST_PYTHON = (3, 11)
"""Minimum of python_requires: the lowest library versions may lack wheels for later Python versions."""
SECONDS = 300.0
PREPARE = ("--val", "0.25", "--min-count", "1")
CONTENT = """
import sys
from pathlib import Path
from faults.sealed import READERS
read, content, _ = READERS[sys.argv[1]]
print(content(read(Path(sys.argv[2]))))
"""
INTERRUPTED = """
import os, sys
from captioner.preparation import prepare
prepare.write_prepared = lambda *_: os._exit(9)
from captioner.cli import main
main(sys.argv[1:])
"""
"""`captioner prepare`, killed after all photographs are encoded."""
NOTHING_ENCODED = """
import os, sys
from captioner.images.feature_store import FeatureStore
FeatureStore.add = lambda *_: os._exit(os.write(2, b"a photograph was encoded again"))
from captioner.cli import main
main(sys.argv[1:])
"""
VERSIONS = """
import sys
from importlib.metadata import version
print(", ".join(f"{name} {version(name)}" for name in sys.argv[1:]))
"""


class CommandError(Exception):
    """A command failed; the message contains its last line of stderr."""


class Written(NamedTuple):
    """A file, its content digest in the environment that wrote it, and the source album."""

    path: Path
    content: str
    album: Path


def run(python: Path, *words: object, code: str = "", exit_code: int = 0) -> str:
    """Run a command in an environment and return its stdout. Raises: CommandError."""
    start = ("-c", code) if code else ("-m", "captioner")
    command = [str(python), *start, *map(str, words)]
    try:
        done = subprocess.run(
            command, env=ENVIRONMENT, capture_output=True, text=True, errors="replace", timeout=SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandError(f"{' '.join(command[1:4])}: {error}") from error
    if done.returncode != exit_code:
        last_line = (done.stderr.strip() or "nothing on stderr").splitlines()[-1]
        raise CommandError(f"{' '.join(map(str, words))}: exit code {done.returncode}: {last_line}")
    return done.stdout.strip()


def content(python: Path, kind: str, path: Path) -> str:
    return run(python, kind, path, code=CONTENT)


def prepare_args(album: Path, encoder: str, output: Path) -> list[object]:
    chosen = encoder.format(album=album)
    return ["prepare", album / "captions.csv", *PREPARE, "--encoder", chosen, "--output", output]


def write_checkpoint(python: Path, album: Path, folder: Path) -> Written:
    run(python, "train", "--run", folder, *settings([*SMALL, "train.max_steps=3", "train.update_rule=adam"]))
    path = folder / "last.h5"
    return Written(path, content(python, "checkpoint", path), album)


def read_checkpoint(python: Path, written: Written) -> None:
    """Check the content, caption images, and resume training."""
    _compare(content(python, "checkpoint", written.path), written)
    folder = written.path.parent
    if not run(python, "sample", folder, "--split", "val", "-n", "2"):
        raise CommandError("sample: no captions")
    run(python, "train", "--resume", folder, "-o", "train.max_steps=5")
    content(python, "checkpoint", written.path)


def write_prepared(encoder: str, python: Path, album: Path, folder: Path) -> Written:
    folder.mkdir()
    path = folder / "data.h5"
    run(python, *prepare_args(album, encoder, path))
    return Written(path, content(python, "data set", path), album)


def read_prepared(encoder: str, python: Path, written: Written) -> None:
    _compare(content(python, "data set", written.path), written)
    run(python, "data", "check", written.path)


def write_encodings(encoder: str, python: Path, album: Path, folder: Path) -> Written:
    """Interrupt `prepare`; return its output path with the content that an uninterrupted run writes."""
    whole = write_prepared(encoder, python, album, folder)
    output = folder / "interrupted.h5"
    run(python, *prepare_args(album, encoder, output), code=INTERRUPTED, exit_code=9)
    return Written(output, whole.content, album)


def read_encodings(encoder: str, python: Path, written: Written) -> None:
    run(python, *prepare_args(written.album, encoder, written.path), code=NOTHING_ENCODED)
    _compare(content(python, "data set", written.path), written)


def _compare(got: str, written: Written) -> None:
    if got != written.content:
        raise CommandError(f"{written.path.name}: other content than its writer reads")


Write = Callable[[Path, Path, Path], Written]
Read = Callable[[Path, Written], None]
ENCODERS = {"scenes": "scenes", "onnx": "onnx:{album}/mean.onnx"}
FILES: Mapping[str, tuple[Write, Read]] = {
    "checkpoints": (write_checkpoint, read_checkpoint),
    **{
        f"{what}, encoder {name}": (partial(write, encoder), partial(read, encoder))
        for what, write, read in (
            ("data sets", write_prepared, read_prepared),
            ("interrupted prepare", write_encodings, read_encodings),
        )
        for name, encoder in ENCODERS.items()
    },
}
"""Writer and reader of each kind of file; a reader raises `CommandError` on failure."""


def trial(files: str, writer: Path, reader: Path, album: Path, folder: Path) -> Outcome:
    """Write one kind of file in one environment and read it in another."""
    write, read = FILES[files]
    try:
        read(reader, write(writer, album, folder))
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
        session.note(f"versions: {name}: {run(python, *floors, code=VERSIONS)}")
    album = make_album(folder / "album")
    for files in FILES:
        tally = Tally()
        for number, (writer, reader) in enumerate(product(pythons, repeat=2)):
            where = folder / f"{files}-{number}".replace(" ", "-")
            tally.add(number, trial(files, pythons[writer], pythons[reader], album, where))
        must = "each version reads or continues the files of the other"
        yield row(f"{files}: lowest and newest libraries", must, tally)
