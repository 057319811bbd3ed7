"""Real processes: 2n steps are n steps, an end of any kind, and n more - bit for bit."""

import json
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.storage import checkpoint

TOTAL, HALF = 20, 10
"""In epochs of 13 steps: the run stops in the middle of one."""

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
"""The command line, which is sent a signal just before it learns that a step is done."""


@pytest.fixture(scope="module")
def options(small_options: Sequence[str]) -> list[str]:
    return [*small_options, *(f"--set={option}" for option in OPTIONS)]


@pytest.fixture(scope="module")
def straight(shell: Callable[..., Any], options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing disturbs."""
    run = tmp_path_factory.mktemp("straight") / "run"
    done = shell("train", *options, f"--set=train.max_steps={TOTAL}", "--run", run)
    assert (done.returncode, done.stdout) == (0, "")
    return run


def lines(run: Path, kind: str) -> list[dict[str, Any]]:
    every = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [line for line in every if line["kind"] == kind]


def assert_same_training(run: Path, straight: Path) -> None:
    """Parameters and optimiser alone could agree by chance of an order not yet felt: the losses of all steps too."""
    one, other = checkpoint.load(run / "last.h5"), checkpoint.load(straight / "last.h5")
    assert one.meta.step == other.meta.step == TOTAL
    assert (
        one.groups().keys()
        == other.groups().keys()
        == {"params", "slots/average", "slots/m", "slots/v", "standardizer"}
    )
    for group, arrays in one.groups().items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, other.groups()[group][name], err_msg=f"{group}/{name}")
    assert lines(run, "step") == lines(straight, "step")
    assert [line["step"] for line in lines(run, "step")] == list(range(1, TOTAL + 1))


def test_two_halves_are_a_whole(straight: Path, shell: Callable[..., Any], options: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = shell("train", *options, f"--set=train.max_steps={HALF}", "--run", run)
    assert first.returncode == 0, first.stderr
    assert checkpoint.load(run / "last.h5").meta.step == HALF
    second = shell("train", "--resume", run, "-o", f"train.max_steps={TOTAL}")
    assert second.returncode == 0, second.stderr
    assert f"from step {HALF}" in second.stderr
    assert_same_training(run, straight)


ENDS = {
    "SIGINT": (signal.SIGINT, 130, 7, []),
    "SIGTERM": (signal.SIGTERM, 143, 15, []),
    "SIGKILL": (signal.SIGKILL, -9, 15, ["--set=train.save_every=1"]),
    "SIGKILL between checkpoints": (signal.SIGKILL, -9, 18, ["--set=train.save_every=4"]),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_signal_in_the_middle_costs_nothing(
    name: str,
    straight: Path,
    shell: Callable[..., subprocess.CompletedProcess[str]],
    cli: Callable[..., Any],
    options: list[str],
    tmp_path: Path,
) -> None:
    number, code, at, more = ENDS[name]
    run = tmp_path / "run"
    command = ["train", *options, *more, f"--set=train.max_steps={TOTAL}", "--run", run]
    stopped = shell(at, int(number), *command, code=AT_STEP)
    assert (stopped.returncode, stopped.stdout) == (code, "")
    assert "Traceback" not in stopped.stderr
    saved = checkpoint.load(run / "last.h5").meta.step
    if number == signal.SIGKILL:
        assert saved == {1: at - 1, 4: at // 4 * 4}[int(more[0][-1])]
    else:
        assert saved == at
        assert stopped.stderr.splitlines()[-1].startswith(f"stopped after {at} steps, ")
    assert cli("train", "--resume", run).code == 0
    assert_same_training(run, straight)
    assert lines(run, "validation") == lines(straight, "validation")
    assert (run / "best.h5").exists()
    one, other = (checkpoint.load(folder / "last.h5").meta for folder in (run, straight))
    assert (one.best, one.since_best) == (other.best, other.since_best)
