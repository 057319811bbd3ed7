"""captioner prepare: an error is one line, and no file is lost."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scene_photos import SCENES

from captioner.data.prepared import SEAL
from captioner.extras import install_command

pytestmark = pytest.mark.usefixtures("photos_here")

FAILURES: dict[str, tuple[int, str]] = {
    "photos/none.csv --output x.h5": (1, "photos/none.csv: not found; expected a caption file; "),
    "photos --output x.h5": (1, "photos: expected a caption file, got a folder; did you mean photos/captions.csv?"),
    "photos/captions.csv --output file": (2, "file: exists already; name another file, or replace it with --overwrite"),
    "photos/captions.csv --output no/out.h5": (2, "no/out.h5: folder not found: no"),
    "photos/captions.csv --output x.h5 --images .": (
        1, ".: expected photographs, found none of 8, such as 000.png; name their folder with --images"
    ),
    "photos/captions.csv --output x.h5 --images nofolder": (
        1, "nofolder: folder not found; name the folder of the photographs with --images"
    ),
    "photos/captions.csv --output x.h5 --min-count 1000 --encoder scenes": (
        1, "vocabulary: expected words that occur at least 1,000 times in train, got none; try a smaller --min-count"
    ),
    "photos/captions.csv --output x.h5 --encoder nonsense": (
        2, "encoder nonsense: expected scenes, efficientnet-lite0, "
    ),
    "photos/captions.csv --output x.h5 --encoder scenes++scenes": (
        2, "encoder scenes++scenes: expected an encoder before and after each +, got nothing"
    ),
    "photos/captions.csv --output x.h5 --encoder scenes+efficientnet-lite2:size=big": (
        2, "encoder efficientnet-lite2: size: expected the pixels of a side (32 to 1,024), got big; the default is 260"
    ),
    "photos/captions.csv --output x.h5 --encoder scenes:flip+scenes": (
        2, "encoder scenes: option flip: unknown; expected mirror"
    ),
    "photos/captions.csv --output x.h5 --encoder scenes+scenes --encoder-option size=4": (
        2, "encoder scenes+scenes: --encoder-option needs exactly one encoder onnx:FILE, got 0; write the options"
    ),
    "photos/captions.csv --output x.h5 --encoder onnx": (
        2, "encoder onnx: expected onnx:FILE, got no file"
    ),
    "photos/captions.csv --output x.h5 --encoder-option size": (
        2, "--encoder-option size: expected KEY=VALUE, such as size=224"
    ),
    "photos/captions.csv --output x.h5 --val 0.9 --test 0.9": (
        1, "expected images for train in addition to "
    ),
    "photos/captions.csv --output x.h5 --val 1": (
        2, "Invalid value for '--val': expected a number >= 0 and < 1, got 1.0;"
    ),
    "photos/captions.csv --output x.h5 --val nan": (
        2, "Invalid value for '--val': expected a number >= 0 and < 1, got"
    ),
    "photos/captions.csv --output x.h5 --min-count 0": (
        2, "Invalid value for '--min-count': expected an integer >= 1, got 0; see captioner prepare --help"
    ),
    "photos/captions.csv --output x.h5 --dtype float64": (
        2, "Invalid value for '--dtype': 'float64' is not one of"
    ),
    "photos/captions.csv --output x.h5 --list val": (
        2, "--list val: expected SPLIT=FILE, such as val=val.txt"
    ),
    "photos/captions.csv --output x.h5 --features file": (
        1, "file: expected an HDF5 file, got one that begins with"
    ),
    "photos/captions.csv --output x.h5 --image-column name": (
        1, "captions.csv:1: expected a header with the columns name"
    ),
    "--output out.h5": (2, "Missing argument 'SOURCE...'"),
    "photos/captions.csv": (2, "Missing option '--output'"),
}  # fmt: skip


@pytest.mark.parametrize("command", FAILURES)
def test_an_error_is_one_line(command: str, cli: Callable[..., Any]) -> None:
    Path("file").write_text("content")
    code, problem = FAILURES[command]
    encoder = () if "--encoder " in command else ("--encoder", "scenes")
    if "--features" in command:
        encoder = ()
    done = cli("prepare", *command.split(), *encoder)
    assert done.err.startswith(f"captioner: {problem}")
    assert done.err.count("\n") == 1
    assert (done.code, done.out) == (code, "")
    assert {*os.listdir()} - {"x.h5.part"} == {"file", "photos"}
    assert Path("file").read_text() == "content"


def test_strict_stops_at_the_first_issue(cli: Callable[..., Any]) -> None:
    Path("photos/001.png").unlink()
    done = cli("prepare", "photos/captions.csv", "--output", "out.h5", *SCENES, "--strict")
    assert done == (
        1, "", "captioner: photos/001.png: photograph not found; add it, or correct its name in the caption file; "
        "without --strict, it is left out and counted\n",
    )  # fmt: skip
    assert not Path("out.h5").exists()


def test_a_full_disk(cli: Callable[..., Any], files_of_at_most: Callable[[int], Any]) -> None:
    with h5py.File("given.h5", "w") as file:
        file["features"] = np.ones((8, 10_000), np.float16)
    Path("out.h5").write_bytes(old := SEAL.magic + b" of old")
    with files_of_at_most(100_000):
        done = cli("prepare", "photos/captions.csv", "--output", "out.h5", "--features", "given.h5", "--overwrite")
    assert (done.code, done.out) == (1, "")
    assert done.err == ("captioner: out.h5: cannot write the data set: File too large; the previous one is kept\n")
    assert Path("out.h5").read_bytes() == old
    assert sorted(os.listdir()) == ["given.h5", "out.h5", "photos"]


def test_without_pillow(shell: Callable[..., Any]) -> None:
    code = "import sys; sys.modules['PIL'] = None; from captioner.cli import main; main()"
    commands = [
        ("prepare", "photos/captions.csv", "--output", "out.h5", "--encoder", "scenes"),
        ("data", "check", "photos/captions.csv", "--min-count", "1"),
    ]
    failed, checked = (shell(*command, code=code) for command in commands)
    assert (failed.returncode, failed.stdout) == (2, "")
    assert re.fullmatch(
        rf"captioner: .*needs PIL[\w.]*, which is not installed; try {re.escape(install_command())}\n", failed.stderr
    )
    assert (checked.returncode, checked.stderr) == (0, "")
