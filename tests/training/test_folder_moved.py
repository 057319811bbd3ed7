"""A run folder that is moved or replaced during a training: the training stops, and writes nothing into another run."""

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


def refused(write: Callable[[RunFolder], None], run: RunFolder, name: str) -> str:
    with pytest.raises(CaptionerError) as caught:
        write(run)
    message = str(caught.value)
    assert message.startswith(f"{run.path / name}: cannot write: {MOVED}")
    assert message.isprintable()
    return message.removeprefix(f"{run.path / name}: cannot write: {MOVED}")


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("again", [True, False])
def test_nothing_is_written_into_another_folder(name: str, again: bool, run: RunFolder, tmp_path: Path) -> None:
    before, moved = content(run.path), tmp_path / "moved run"
    run.path.rename(moved)
    if again:
        run.path.mkdir()
    try_ = f"; its files are in {moved}: try --resume '{moved}'"
    where = refused(WRITES[name], run, name)
    if Path("/proc/self/fd").exists():
        assert where == try_
    assert content(moved) == before
    assert run.path.exists() == again
    assert not again or os.listdir(run.path) == []


@pytest.mark.parametrize("name", WRITES)
def test_a_folder_that_is_removed_is_named(name: str, run: RunFolder) -> None:
    shutil.rmtree(run.path)
    run.path.mkdir()
    where = refused(WRITES[name], run, name)
    if Path("/proc/self/fd").exists():
        assert where == ", and its files were removed; train again, with --run and another folder"
    assert os.listdir(run.path) == []


def test_a_folder_without_a_checkpoint_is_not_resumed_from(run: RunFolder, tmp_path: Path) -> None:
    run.last.unlink()
    run.path.rename(tmp_path / "moved")
    assert "--resume" not in refused(WRITES["last.h5"], run, "last.h5")


@pytest.mark.parametrize("name", ["last.h5", "config.yaml"])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_folder_replaced_in_the_middle_of_a_write(
    call: str, name: str, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, moved, real = content(run.path), tmp_path / "moved", getattr(os, call)

    def swap(*args: Any) -> None:
        if not moved.exists():
            run.path.rename(moved)
            run.path.mkdir()
        real(*args)

    monkeypatch.setattr(os, call, swap)
    refused(WRITES[name], run, name)
    assert os.listdir(run.path) == []
    assert {file: was for file, was in content(moved).items() if not file.endswith(".tmp")} == before


def test_the_run_before_of_another_run_is_left_alone(run: RunFolder, tmp_path: Path) -> None:
    run.path.rename(tmp_path / "moved")
    run.before.mkdir(parents=True)
    (run.before / "best.h5").touch()
    with pytest.raises(CaptionerError, match=MOVED):
        run.found_best()
    assert os.listdir(run.before) == ["best.h5"]


def test_a_folder_moved_and_back_is_the_same(run: RunFolder, tmp_path: Path) -> None:
    run.path.rename(tmp_path / "moved")
    (tmp_path / "moved").rename(run.path)
    for write in WRITES.values():
        write(run)


# Real processes


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


@pytest.mark.parametrize("how", ["moved", "removed"])
@pytest.mark.parametrize("save_every", [1, 1000])
def test_two_trainings_never_share_a_folder(
    how: str, save_every: int, small_options: Sequence[str], tmp_path: Path
) -> None:
    folder, moved = tmp_path / "run", tmp_path / "moved"
    options = [*small_options, "--set=train.epochs=100000", "--set=train.log_every=1"]
    first_options = [*options, "--set=seed=1", f"--set=train.save_every={save_every}"]
    with training(folder, first_options) as first:
        until((folder / "last.h5").exists, first)
        first.send_signal(signal.SIGSTOP)  # wherever it is
        if how == "moved":
            folder.rename(moved)
        else:
            shutil.rmtree(folder)
        second_options = [*options, "--set=seed=2", "--set=train.max_steps=60", "--set=train.save_every=1"]
        with training(folder, second_options) as second:
            until((folder / "last.h5").exists, second)
            first.send_signal(signal.SIGCONT)
            told = first.communicate(timeout=60)[1]
            assert (first.returncode, second.communicate(timeout=60)[1].count("\ndone after 60 step")) == (1, 1)
            assert second.returncode == 0
    lines = [line for line in told.splitlines() if line.startswith("captioner: ")]
    assert len(lines) == 1
    assert lines[0].startswith(f"captioner: {folder}/")
    assert f": cannot write: {MOVED}" in lines[0]
    assert "Traceback" not in told
    assert load(folder / "config.yaml").seed == 2
    steps = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in steps if line["kind"] == "step"] == list(range(1, 61))
    for name in ("last.h5", "best.h5"):
        assert "seed: 2\n" in checkpoint.load(folder / name).meta.config
    assert json.loads((folder / "summary.json").read_text())["steps"] == 60
    assert sorted(os.listdir(folder)) == ["best.h5", "config.yaml", "history.jsonl", "last.h5", "summary.json"]
    if how == "moved":
        assert "seed: 1\n" in checkpoint.load(moved / "last.h5").meta.config
        assert load(moved / "config.yaml").seed == 1
