"""A run that ended, was interrupted or killed, and was resumed, is bit-identical to an uninterrupted run."""

import json
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from checkpoint_arrays import assert_same_arrays

from captioner.config.yaml_io import parse
from captioner.storage import checkpoint
from captioner.training.train import train

TOTAL, HALF = 20, 10
"""An epoch has 13 steps, so the run stops within an epoch."""

OPTIONS = (
    "train.batch_size=16",
    "train.log_every=1",
    "train.update_rule=adam",
    "train.learning_rate=0.01",
    "train.schedule=constant",
    "model.dropout_features=0.2",
    "model.dropout_embedding=0.3",
    "model.dropout_hidden=0.4",
    "model.image_input=every",
    "train.ema_decay=0.9",
)
AT_STEP = """
import os, sys
from captioner.training import train

def steps(*args):
    for step in real(*args):
        if step.step == at:
            os.kill(os.getpid(), number)
        yield step

at, number, real, train.steps = int(sys.argv[1]), int(sys.argv[2]), train.steps, steps
from captioner.cli import main
main(sys.argv[3:])
"""
"""The command line, with a signal sent to its process after a step of the solver."""


@pytest.fixture(scope="module")
def options(small_options: Sequence[str]) -> list[str]:
    return [*small_options, *(f"--set={option}" for option in OPTIONS)]


@pytest.fixture(scope="module")
def uninterrupted(small: Sequence[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("uninterrupted") / "run"
    for _ in train(parse("", "", [*small, *OPTIONS, f"train.max_steps={TOTAL}"]), run):
        pass
    return run


def lines(run: Path, kind: str) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [line for line in records if line["kind"] == kind]


def assert_same_training(run: Path, uninterrupted: Path) -> None:
    """Compare parameters, optimizer slots and the records of all steps."""
    one, other = checkpoint.load(run / "last.h5"), checkpoint.load(uninterrupted / "last.h5")
    assert one.meta.step == other.meta.step == TOTAL
    assert one.groups().keys() == {"params", "slots/average", "slots/m", "slots/v", "standardizer"}
    assert_same_arrays(run, uninterrupted)
    assert lines(run, "step") == lines(uninterrupted, "step")
    assert [line["step"] for line in lines(run, "step")] == list(range(1, TOTAL + 1))


def test_a_resumed_run_equals_an_uninterrupted_one(
    uninterrupted: Path, cli: Callable[..., Any], options: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    first = cli("train", *options, f"--set=train.max_steps={HALF}", "--run", run)
    assert (first.code, first.out) == (0, "")
    assert checkpoint.load(run / "last.h5").meta.step == HALF
    second = cli("train", "--resume", run, "-o", f"train.max_steps={TOTAL}")
    assert second.code == 0, second.err
    assert f"from step {HALF}" in second.err
    assert_same_training(run, uninterrupted)


ENDS = {
    "SIGINT": (130, 7, []),
    "SIGTERM": (143, 15, []),
    "SIGKILL": (-9, 18, ["--set=train.save_every=4"]),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_run_resumed_after_a_signal_equals_an_uninterrupted_one(
    name: str,
    uninterrupted: Path,
    shell: Callable[..., subprocess.CompletedProcess[str]],
    cli: Callable[..., Any],
    options: list[str],
    tmp_path: Path,
) -> None:
    number = getattr(signal, name)
    code, at, more = ENDS[name]
    run = tmp_path / "run"
    command = ["train", *options, *more, f"--set=train.max_steps={TOTAL}", "--run", run]
    stopped = shell(at, int(number), *command, code=AT_STEP)
    assert (stopped.returncode, stopped.stdout) == (code, "")
    assert "Traceback" not in stopped.stderr
    saved = checkpoint.load(run / "last.h5").meta.step
    if name == "SIGKILL":
        assert saved == at // 4 * 4
    else:
        assert saved == at
        assert stopped.stderr.splitlines()[-1].startswith(f"stopped after {at} steps, ")
    assert cli("train", "--resume", run).code == 0
    assert_same_training(run, uninterrupted)
    assert lines(run, "validation") == lines(uninterrupted, "validation")
    assert (run / "best.h5").exists()
    one, other = (checkpoint.load(folder / "last.h5").meta for folder in (run, uninterrupted))
    assert (one.best, one.since_best) == (other.best, other.since_best)
