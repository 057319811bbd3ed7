"""Training stops when its run folder is moved or replaced, and writes nothing to another run."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.config.yaml_io import load
from captioner.errors import CaptionerError
from captioner.storage import checkpoint
from captioner.storage.checkpoint import Checkpoint, Meta
from captioner.training.run_folder import RunFolder

SAVED = Checkpoint(Meta("", [], 1, "", "", [], 3, None, 0, {}, ""), {"w": np.ones(3)}, {}, {})
MOVED = "the run folder was moved or replaced during the training"
WRITES: dict[str, Callable[[RunFolder], None]] = {
    "last.h5": lambda run: run.save(run.last, SAVED),
    "best.h5": lambda run: run.save(run.best, SAVED),
    "config.yaml": lambda run: run.write(run.config, "seed: 1\n"),
    "summary.json": lambda run: run.write(run.summary, "{}\n"),
    "history.jsonl": lambda run: run.log({"step": 1}),
}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A locked run folder with every file."""
    run = RunFolder(tmp_path / "run")
    run.create(overwrite=False)
    for write in WRITES.values():
        write(run)
    return run


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def write_error(write: Callable[[RunFolder], None], run: RunFolder, name: str) -> str:
    with pytest.raises(CaptionerError) as caught:
        write(run)
    message = str(caught.value)
    assert message.startswith(f"{run.path / name}: cannot write: {MOVED}")
    assert message.isprintable()
    return message.removeprefix(f"{run.path / name}: cannot write: {MOVED}")


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("replaced", [True, False])
def test_writing_to_a_moved_folder_fails(name: str, replaced: bool, run: RunFolder, tmp_path: Path) -> None:
    before, moved = content(run.path), tmp_path / "moved run"
    run.path.rename(moved)
    if replaced:
        run.path.mkdir()
    remedy = f"; its files are in {moved}: try --resume '{moved}'"
    where = write_error(WRITES[name], run, name)
    if Path("/proc/self/fd").exists():
        assert where == remedy
    assert content(moved) == before
    assert run.path.exists() == replaced
    assert not replaced or os.listdir(run.path) == []


@pytest.mark.parametrize("name", WRITES)
def test_writing_to_a_removed_folder_fails(name: str, run: RunFolder) -> None:
    shutil.rmtree(run.path)
    run.path.mkdir()
    where = write_error(WRITES[name], run, name)
    if Path("/proc/self/fd").exists():
        assert where == ", and its files were removed; train again, with --run and another folder"
    assert os.listdir(run.path) == []


def test_no_resume_is_suggested_without_a_checkpoint(run: RunFolder, tmp_path: Path) -> None:
    run.last.unlink()
    run.path.rename(tmp_path / "moved")
    assert "--resume" not in write_error(WRITES["last.h5"], run, "last.h5")


@pytest.mark.parametrize("name", ["last.h5", "config.yaml"])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_folder_replaced_during_a_write(
    call: str, name: str, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, moved, real = content(run.path), tmp_path / "moved", getattr(os, call)

    def swap(*args: Any) -> None:
        if not moved.exists():
            run.path.rename(moved)
            run.path.mkdir()
        real(*args)

    monkeypatch.setattr(os, call, swap)
    write_error(WRITES[name], run, name)
    assert os.listdir(run.path) == []
    assert {file: was for file, was in content(moved).items() if not file.endswith(".tmp")} == before


def test_the_previous_run_in_another_folder_is_kept(run: RunFolder, tmp_path: Path) -> None:
    run.path.rename(tmp_path / "moved")
    run.previous.mkdir(parents=True)
    (run.previous / "best.h5").touch()
    with pytest.raises(CaptionerError, match=MOVED):
        run.discard_previous()
    assert os.listdir(run.previous) == ["best.h5"]


def test_a_folder_moved_away_and_back_is_writable(run: RunFolder, tmp_path: Path) -> None:
    run.path.rename(tmp_path / "moved")
    (tmp_path / "moved").rename(run.path)
    for write in WRITES.values():
        write(run)


# Two processes


@contextlib.contextmanager
def training(folder: Path, options: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "captioner", "train", *options, "--run", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(("how", "save_every"), [("moved", 1), ("removed", 1000)])
def test_two_processes_never_write_to_one_folder(
    how: str, save_every: int, small_options: Sequence[str], tmp_path: Path
) -> None:
    folder, moved = tmp_path / "run", tmp_path / "moved"
    options = [*small_options, "--set=train.epochs=100000", "--set=train.log_every=1"]
    first_options = [*options, "--set=seed=1", f"--set=train.save_every={save_every}"]
    with training(folder, first_options) as first:
        until((folder / "last.h5").exists, first)
        first.send_signal(signal.SIGSTOP)
        if how == "moved":
            folder.rename(moved)
        else:
            shutil.rmtree(folder)
        second_options = [*options, "--set=seed=2", "--set=train.max_steps=20", "--set=train.save_every=1"]
        with training(folder, second_options) as second:
            until((folder / "last.h5").exists, second)
            first.send_signal(signal.SIGCONT)
            stderr = first.communicate(timeout=60)[1]
            assert (first.returncode, second.communicate(timeout=60)[1].count("\ndone after 20 step")) == (1, 1)
            assert second.returncode == 0
    lines = [line for line in stderr.splitlines() if line.startswith("captioner: ")]
    assert len(lines) == 1
    assert lines[0].startswith(f"captioner: {folder}/")
    assert f": cannot write: {MOVED}" in lines[0]
    assert "Traceback" not in stderr
    assert load(folder / "config.yaml").seed == 2
    steps = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in steps if line["kind"] == "step"] == list(range(1, 21))
    for name in ("last.h5", "best.h5"):
        assert "seed: 2\n" in checkpoint.load(folder / name).meta.config
    assert json.loads((folder / "summary.json").read_text())["steps"] == 20
    assert sorted(os.listdir(folder)) == ["best.h5", "config.yaml", "history.jsonl", "last.h5", "summary.json"]
    if how == "moved":
        assert "seed: 1\n" in checkpoint.load(moved / "last.h5").meta.config
        assert load(moved / "config.yaml").seed == 1
