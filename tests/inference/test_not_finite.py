"""Well-formed checkpoints with extreme numbers: a one-line error, and no NumPy warnings."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.config.yaml_io import parse
from captioner.storage import checkpoint
from captioner.storage.checkpoint import Checkpoint
from captioner.training.train import train


@pytest.fixture(scope="module")
def saved(small: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("standardized") / "run"
    for _ in train(parse("", "", [*small, "train.max_steps=2", "data.standardize=true"]), folder):
        pass
    return checkpoint.load(folder / "best.h5")


def std(value: float) -> Callable[[Checkpoint], None]:
    return lambda one: one.standardizer["std"].fill(value)


def mean(value: float) -> Callable[[Checkpoint], None]:
    return lambda one: one.standardizer["mean"].fill(value)


def weights(value: float) -> Callable[[Checkpoint], None]:
    return lambda one: [array.fill(value) for array in one.params.values()] and None


POSITIVE = "array standardizer/std: expected numbers above 0, got"
FINITE = "(expected finite log-probabilities|the gradients of this model are not finite)"
CHANGES: dict[str, tuple[Callable[[Checkpoint], None], str]] = {
    "std 0": (std(0.0), POSITIVE),
    "std below 0": (std(-1.0), POSITIVE),
    "std below float32": (std(1e-308), FINITE),
    "std 1e-50": (std(1e-50), FINITE),
    "mean beyond float32": (mean(1e300), FINITE),
    "weights 3e38": (weights(3e38), FINITE),
}


@pytest.mark.parametrize("command", ["sample {}", "evaluate {}", "inspect gradients {} --word 2"])
@pytest.mark.parametrize("name", CHANGES)
def test_non_finite_log_probabilities_are_one_error_line(
    name: str, command: str, saved: Checkpoint, shell: Callable[..., Any], tmp_path: Path
) -> None:
    change, message = CHANGES[name]
    changed = copy.deepcopy(saved)
    change(changed)
    path = tmp_path / "odd.h5"
    checkpoint.save(path, changed)
    done = shell(*(str(path) if word == "{}" else word for word in command.split()))
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"captioner: [^\n]*{message}[^\n]*\n", done.stderr), done.stderr


def test_the_unmodified_checkpoint_works(saved: Checkpoint, shell: Callable[..., Any], tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "sound.h5", saved)
    assert shell("sample", tmp_path / "sound.h5").returncode == 0
    assert np.isfinite(saved.standardizer["std"]).all()
