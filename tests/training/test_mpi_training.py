"""Training shared by MPI ranks: the same bits for one number of ranks, and those of a serial run up to rounding."""

import dataclasses
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi_runs import AT_STEP, command, mpiexec, needs_mpiexec
from small_runs import assert_same_arrays, history, summary

from captioner.config.overrides import read_overrides
from captioner.config.yaml_io import load
from captioner.files import checkpoint
from captioner.training.train import train

pytestmark = needs_mpiexec
TOTAL = 20
TOLERANCE = 1e-5
CONFIG = """
threads: 1
data: {scenes: {train: 40, val: 10, test: 5, heldout: 5}}
model:
  hidden_dim: 16
  wordvec_dim: 16
  image_input: every
  attention: adaptive
  attention_dim: 8
  dropout_features: 0.2
  dropout_embedding: 0.3
  dropout_hidden: 0.4
  dropout_regions: 0.2
  dropout_keys: 0.3
train:
  batch_size: 33  # the last batch of an epoch has 2 captions: none for the last of three ranks
  captions_per_image: 2
  learning_rate: 0.01
  label_smoothing: 0.1
  clip_norm: 1
  ema_decay: 0.9
  max_steps: 20
  log_every: 1
validate: {score_every: 1, every: 1}
decode: {beam_width: 3, similarity_weight: 0.5}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("config") / "small.yaml"
    file.write_text(CONFIG)
    return file


@pytest.fixture(scope="module")
def serial(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("serial") / "run"
    for _ in train(load(config), run):
        pass
    return run


@pytest.fixture(scope="module")
def two_ranks(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("two_ranks") / "run"
    done = mpiexec(2, "train", "-c", config, "--run", run, "--mpi")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f" -> {run}\n") == 2, "the first and the last line, of rank 0 alone"
    return run


def assert_same_up_to_rounding(run: Path, serial: Path) -> None:
    """Compare the files, the histories, and the parameters and optimizer slots of the last checkpoint."""
    assert {file.name for file in run.iterdir()} == {file.name for file in serial.iterdir()}
    saved, expected = (checkpoint.load(folder / "last.h5") for folder in (run, serial))
    settings = {"environment": {}, "best": None, "card": None}
    assert dataclasses.replace(saved.meta, **settings) == dataclasses.replace(expected.meta, **settings)
    for group, arrays in saved.groups().items():
        for name, array in arrays.items():
            np.testing.assert_allclose(array, expected.groups()[group][name], rtol=0, atol=TOLERANCE, err_msg=name)
    for record, other in zip(history(run), history(serial), strict=True):
        assert record.keys() == other.keys()
        assert numbers(record) == pytest.approx(numbers(other), rel=1e-4)
    assert saved.meta.best == pytest.approx(expected.meta.best, rel=1e-4)
    assert saved.meta.card.scores == pytest.approx(expected.meta.card.scores, rel=1e-4)


def numbers(record: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a record and its scores."""
    flat = {**record, **record.get("scores", {})}
    return {name: value for name, value in flat.items() if isinstance(value, int | float)}


def test_two_ranks_agree_with_a_serial_run(serial: Path, two_ranks: Path) -> None:
    assert_same_up_to_rounding(two_ranks, serial)
    written = summary(two_ranks)
    assert (written["ranks"], written["step"]) == (2, TOTAL)
    assert written["profile"]["all-reduce"] > 0
    assert checkpoint.load(two_ranks / "last.h5").meta.environment["ranks"] == "2"


def test_two_runs_of_two_ranks_have_the_same_bits(config: Path, two_ranks: Path, tmp_path: Path) -> None:
    assert mpiexec(2, "train", "-c", config, "--run", tmp_path / "run", "--mpi").returncode == 0
    assert_same_arrays(tmp_path / "run", two_ranks)
    assert history(tmp_path / "run") == history(two_ranks)


def test_three_ranks_agree_with_a_serial_run(config: Path, serial: Path, tmp_path: Path) -> None:
    done = mpiexec(3, "train", "-c", config, "--run", tmp_path / "run", "--mpi")
    assert done.returncode == 0, done.stderr
    assert_same_up_to_rounding(tmp_path / "run", serial)


def test_ranks_of_a_transformer_agree_with_a_serial_run(config: Path, tmp_path: Path) -> None:
    overrides = "model.decoder=transformer", "model.layers=2", "model.heads=2", "model.feed_forward_dim=32"
    overrides += ("model.dropout_layers=0.3",)
    for _ in train(load(config, read_overrides(overrides)), tmp_path / "serial"):
        pass
    words = "-c", config, *(f"-o{override}" for override in overrides)
    for name in ("two", "again"):
        done = mpiexec(2, "train", *words, "--run", tmp_path / name, "--mpi")
        assert done.returncode == 0, done.stderr
    assert_same_up_to_rounding(tmp_path / "two", tmp_path / "serial")
    assert_same_arrays(tmp_path / "two", tmp_path / "again")


def test_a_signal_saves_and_the_same_command_goes_on_to_the_same_bits(
    config: Path, two_ranks: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = "train", "-c", config, "--resume-or-start", run, "--mpi"
    start = command(2, "slow", 7, 0, *words, start=("-c", AT_STEP))
    with subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "slow\n"
        process.send_signal(signal.SIGTERM)
        _, messages = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    step = checkpoint.load(run / "last.h5").meta.step
    assert 7 <= step < TOTAL
    assert messages.splitlines()[-1].startswith(f"stopped after {step} steps, ")
    again = mpiexec(2, *words)
    assert again.returncode == 0, again.stderr
    assert f"from step {step} -> {run}" in again.stderr
    assert "warning: changed" not in again.stderr
    assert_same_arrays(run, two_ranks)
    assert history(run) == history(two_ranks)
    began, ended = time.time(), mpiexec(2, *words)
    assert ended.returncode == 0
    assert ended.stderr.startswith("done after 20 steps")
    assert ended.stderr.count("\n") == 1
    assert (run / "last.h5").stat().st_mtime < began


REPLICAS = """
import numpy as np
from captioner.parallel.ranks import start_mpi
from captioner.training.run import synchronize
from captioner.training.solver import TrainState

ranks, slot = start_mpi(), np.arange(3.0)
state = TrainState({"W": np.ones((2, 3), np.float32)}, {"m": {"W": slot}})
for change, expected in ((0, 1), (1e-6 * ranks.rank, 1), (ranks.rank + 1, 2)):
    state.params["W"] += np.float32(change)
    slot += change
    synchronize(state, ranks)
    assert (state.params["W"] == expected).all(), state.params
    assert (slot == np.arange(3) + expected - 1).all(), slot
"""


def test_all_ranks_go_on_with_the_parameters_of_rank_0() -> None:
    done = mpiexec(2, start=("-c", REPLICAS))
    assert done.returncode == 0, done.stderr


def test_self_critical_training_agrees_with_a_serial_run(config: Path, serial: Path, tmp_path: Path) -> None:
    options = (
        "train.objective=self_critical",
        f"train.init_from={serial}",
        "train.max_steps=8",
        "train.label_smoothing=0",
        "train.similarity_weight=0.5",
        "train.update_rule=sgd",  # Adam amplifies rounding where a gradient is nearly 0
        "train.learning_rate=0.1",
    )
    for _ in train(load(config, read_overrides(options)), tmp_path / "serial"):
        pass
    more = [word for option in options for word in ("-o", option)]
    done = mpiexec(3, "train", "-c", config, *more, "--run", tmp_path / "run", "--mpi")
    assert done.returncode == 0, done.stderr
    assert_same_up_to_rounding(tmp_path / "run", tmp_path / "serial")
    assert any(record.get("advantage", 0) > 0 for record in history(tmp_path / "run"))


def test_ranks_that_start_from_a_model_agree_with_a_serial_run(config: Path, serial: Path, tmp_path: Path) -> None:
    """Also on its scores and those of the best checkpoint, which are measured at the end."""
    options = f"train.init_from={serial}", "train.max_steps=10", "validate.score_every=null"
    for _ in train(load(config, read_overrides(options)), tmp_path / "serial"):
        pass
    more = [word for option in options for word in ("-o", option)]
    done = mpiexec(2, "train", "-c", config, *more, "--run", tmp_path / "run", "--mpi")
    assert done.returncode == 0, done.stderr
    compared, expected = (summary(run)["compared"] for run in (tmp_path / "run", tmp_path / "serial"))
    for part in ("start", "best"):
        assert compared[part] == pytest.approx(expected[part], rel=1e-4)
    assert history(tmp_path / "run", "validation")[0]["best"] is True
