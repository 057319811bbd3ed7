"""The commands of docs/cluster.md for photographs in parts, with the real GNU parallel."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from eventually import eventually
from pages import ROOT, blocks
from PIL import Image

from captioner.photos.album import Album
from captioner.photos.photographs import photo_paths

pytestmark = pytest.mark.slow  # a process for each part, which loads the default model
PAGE = ROOT / "docs" / "cluster.md"
PARALLEL, JOIN, WRITE = re.findall(r"^\$ (.*)$", "".join(blocks(PAGE, "console")[:1]), re.MULTILINE)
PHOTOS = 100
needs_parallel = pytest.mark.skipif(not shutil.which("parallel"), reason="needs GNU parallel (package parallel)")
Shell = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def bash(tmp_path: Path) -> Shell:
    """Start a command in a folder that has an album."""
    for number in range(PHOTOS):
        path = tmp_path / "album" / str(number % 7) / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40, 40, 3), 2 * number, np.uint8)).save(path)
    folders = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def start(command: str, **variables: str) -> subprocess.Popen[str]:
        three = re.sub(r"(/|seq )(8|64)\b", r"\g<1>3", command)  # parts
        return subprocess.Popen(
            ["bash", "-c", three], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
            env={**os.environ, "PATH": folders, **variables}, start_new_session=True,
        )  # fmt: skip

    return start


def finish(process: subprocess.Popen[str]) -> str:
    """Return what a command that succeeds prints to stderr."""
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return errors


def images(file: Path) -> list[str]:
    """Return the photographs of an album, in order."""
    with Album(file) as album:
        return [os.path.relpath(entry.path, file.parent) for entry in album.entries()]


@needs_parallel
def test_parts_of_parallel_are_stopped_and_repeated_and_their_albums_are_one(bash: Shell, tmp_path: Path) -> None:
    photos = [os.path.relpath(photo, tmp_path) for photo in photo_paths([tmp_path / "album"])]
    stopped = bash(PARALLEL)
    eventually(lambda: any(tmp_path.glob("part-*.db")))
    os.killpg(stopped.pid, signal.SIGINT)  # Ctrl-C
    stopped.communicate(timeout=300)
    finish(bash(PARALLEL))
    assert sorted(image for number in (1, 2, 3) for image in images(tmp_path / f"part-{number}.db")) == sorted(photos)
    finish(bash(f"{JOIN} --add part-3.db"))
    assert f"captioned: 0; already captioned: {PHOTOS}\n" in finish(bash(WRITE))
    assert images(tmp_path / "all.db") == photos
