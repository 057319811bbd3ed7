"""Training is bit-identical for one thread count, also on a busy machine, and equal up to rounding for another."""

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.arrays import Params
from captioner.config.yaml_io import parse
from captioner.storage import checkpoint
from captioner.training.events import Ended
from captioner.training.train import train

LARGE = ("model.hidden_dim=192", "model.wordvec_dim=96", "train.batch_size=64", "train.max_steps=6")
"""Sizes large enough that the thread pool splits the work."""
BLOCKED = ("model.hidden_dim=512", "model.cell=lstm", "train.batch_size=64", "train.max_steps=4")
"""Sizes at which several block widths differ in speed, by an amount that load changes."""
BUSY = "import numpy as np, sys; x = np.ones((600, 600)); print(flush=True)\nwhile True: x @ x"


def test_threads_change_results_only_by_rounding(small: Sequence[str], tmp_path: Path) -> None:
    trained: list[Params] = []
    for number, threads in enumerate((1, 2, 2)):
        *_, ended = train(parse("", "", [*small, *LARGE, f"threads={threads}"]), tmp_path / str(number))
        assert isinstance(ended, Ended)
        assert ended.summary["threads"] == threads
        trained.append(checkpoint.load(tmp_path / str(number) / "last.h5").params)
    one, two, again = trained
    for name, w in one.items():
        np.testing.assert_array_equal(again[name], two[name], err_msg=name)
        np.testing.assert_allclose(two[name], w, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.fixture
def busy_process() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.usefixtures("busy_process")
def test_processes_on_a_busy_machine_write_equal_checkpoints(
    ranks: int, small_options: Sequence[str], shell: Callable[..., Any], tmp_path: Path
) -> None:
    options = [*small_options, *(f"--set={option}" for option in BLOCKED)]
    digests = set()
    for number in range(3):
        run = tmp_path / str(number)
        if ranks == 1:
            done = shell("train", *options, "--run", run)
        else:
            mpi_runs = pytest.importorskip("mpi_runs")
            if not mpi_runs.MPIEXEC:
                pytest.skip("needs mpiexec; the package mpich contains one")
            done = mpi_runs.mpiexec(ranks, "train", *options, "--set=threads=1", "--run", run, "--mpi")
        assert done.returncode == 0, done.stderr
        digests.add(hashlib.sha256((run / "last.h5").read_bytes()).hexdigest())
    assert len(digests) == 1
