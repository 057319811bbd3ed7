"""Archives of this checkout, and processes that run as those of a user."""

import os
import subprocess
import tarfile
import zipfile
from collections.abc import Mapping
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]


class Archives(NamedTuple):
    """The wheel and the source archive."""

    wheel: Path
    sdist: Path


def user_environment(environment: Path | None = None) -> Mapping[str, str]:
    """The environment variables of a user without the checkout on any path, with an environment active."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "PYTEST"))
    }
    path = kept["PATH"] if environment is None else f"{environment / 'bin'}{os.pathsep}{kept['PATH']}"
    return {**kept, "PATH": path}


def run(*command: object, **options: Any) -> str:
    """Run a command that must succeed, and return its output."""
    done = subprocess.run(
        [*map(str, command)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        **{"env": user_environment(), "timeout": 600, **options},
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


def unpack(sdist: Path, folder: Path) -> Path:
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    return unpacked


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def modules(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}
