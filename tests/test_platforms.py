"""All commands on a simulated Windows: without POSIX names, and open files cannot be renamed or deleted."""

import json
import mmap
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from platforms import is_open

pytestmark = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the simulation needs /proc")
TESTS = Path(__file__).parent
CODE = """
import json, sys
from platforms import simulate_windows

simulate_windows()
from captioner.cli import main

for words in json.loads(sys.argv[1]):
    print("$", *words, file=sys.stderr)
    try:
        main(words)
    except SystemExit as ended:
        print(ended.code, file=sys.stderr)
"""


@pytest.fixture
def windows(shell: Callable[..., Any]) -> Callable[..., list[tuple[int, list[str]]]]:
    """Run commands in a process that simulates Windows; return the exit code and the lines on stderr of each."""

    def run(*commands: str) -> list[tuple[int, list[str]]]:
        path = os.pathsep.join([str(TESTS), *sys.path])
        done = shell(json.dumps([one.split() for one in commands]), code=CODE, env=os.environ | {"PYTHONPATH": path})
        assert "Traceback" not in done.stderr, done.stderr
        _, *parts = done.stderr.split("$ ")
        return [(int(lines[-1]), lines[1:-1]) for lines in (part.splitlines() for part in parts)]

    return run


def test_the_simulation_knows_which_files_are_open(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    assert not is_open(tmp_path / "a")
    with open(tmp_path / "a") as file:
        assert is_open(tmp_path / "a")
        assert is_open(tmp_path), "Windows does not rename a folder with an open file"
        assert not is_open(tmp_path / "b")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    assert is_open(tmp_path / "a")
    mapped.close()
    assert not is_open(tmp_path / "a")


def test_every_command_works(
    windows: Callable[..., list[tuple[int, list[str]]]],
    small_options: tuple[str, ...],
    album: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    album(Path("photos"))
    small = " ".join(small_options)
    prepare = "prepare photos/captions.csv --encoder scenes --val 0.25 --min-count 1 --output data.h5"
    train = f"train {small} -o train.epochs=1 -o validate.every=1 --run run"
    done = windows(
        train,
        train,
        f"{train} --overwrite",
        "train --resume run -o train.epochs=2",
        prepare,
        f"{prepare} --overwrite",
        f"train --data data.h5 --run photo-run {small} -o train.epochs=1",
        "sample run --split val -n 2",
        "sample photo-run photos --write-sidecar .txt",
        "evaluate run --split val",
        "data check data.h5",
        "gradcheck",
    )
    assert [code for code, _ in done] == [0, 2, *[0] * 10], "\n".join(map(str, done))
    assert done[1][1] == [
        "captioner: run: already contains a run; continue it with --resume run, choose another folder with --run, or "
        "replace the run with --overwrite"
    ]
    assert not [line for _, lines in done for line in lines if "cannot be locked" in line]
    files = {"best.h5", "config.yaml", "history.jsonl", "last.h5", "summary.json"}
    assert set(os.listdir("run")) == files, "neither the lock file nor the replaced run is left"
    assert set(os.listdir()) == {"data.h5", "photo-run", "photos", "run"}
    assert len(list(Path("photos").glob("*.txt"))) == 8
