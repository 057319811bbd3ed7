"""Failures of MPI ranks: all ranks end, with one line, and the last checkpoint is intact."""

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from mpi_runs import AT_STEP, command, mpiexec, needs_mpiexec

from captioner.files import checkpoint

pytestmark = needs_mpiexec
FAULTS = {
    "kill": (1, 9, []),
    "data": (1, 1, ["captioner: rank 1: data.h5: cannot be read"]),
    "disk": (0, 1, ["captioner: {run}/last.h5: cannot write the model: File too large; the previous one is kept"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_one_rank_ends_all(fault: str, small_options: Sequence[str], tmp_path: Path) -> None:
    rank, code, messages = FAULTS[fault]
    run, options = tmp_path / "run", ["threads=1", "train.save_every=4", "train.epochs=10000", "validate.every=10000"]
    words = "train", *small_options, *(f"--set={option}" for option in options), "--run", run, "--mpi"
    done = mpiexec(2, fault, 9, rank, *words, start=("-c", AT_STEP))
    assert done.returncode == code
    lines = done.stderr.splitlines()
    assert lines[1].endswith(f" -> {run}")
    if messages:
        assert lines[2:] == [message.format(run=run) for message in messages]
    assert "Traceback" not in done.stderr
    assert checkpoint.load(run / "last.h5").meta.step == 8


FAILURES = {
    "-c nope": "captioner: nope: not found",
    "--run run": "captioner: run: already contains a run; ",  # found by rank 0 alone
}


@pytest.mark.parametrize("words", FAILURES)
def test_a_failure_of_all_ranks_is_one_line(words: str, own_run: Path) -> None:
    done = mpiexec(3, "train", *words.split(), "--mpi", cwd=own_run.parent)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(FAILURES[words])


OTHER_OPTION = """
import os, sys

if os.environ["PMI_RANK"] == "1":
    sys.argv.append(sys.argv[1])
del sys.argv[1]
from captioner.cli import main
main()
"""
"""The command line, with one more word on rank 1."""


@pytest.mark.parametrize(
    ("option", "difference"),
    [
        ("seed=5", "seed"),
        ("data.scenes.train=41", "data.scenes.train, data set, learned captions"),
        ("threads=2", ""),
    ],
)
def test_ranks_with_other_options_or_data_never_train_except_with_other_numbers_of_threads(
    option: str, difference: str, small_options: Sequence[str], tmp_path: Path
) -> None:
    options = ("--set=threads=1", "--set=train.max_steps=2", "--run", tmp_path / "run", "--mpi")
    done = mpiexec(2, f"--set={option}", "train", *small_options, *options, start=("-c", OTHER_OPTION))
    assert done.returncode == (2 if difference else 0), done.stderr
    if not difference:
        return
    expected = f"captioner: --mpi: rank 1 differs from rank 0 in {difference}; "
    assert (done.stderr.startswith(expected), done.stderr.count("\n")) == (True, 1), done.stderr
    assert not (tmp_path / "run").exists()


FAILS_BEFORE_MPI = """
import os, sys

if os.environ["PMI_RANK"] == "0":
    sys.modules["mpi4py"] = None
else:
    print("other", flush=True)
from captioner.cli import main
main()
"""
"""The command line; rank 0 has no mpi4py."""


def test_a_signal_ends_ranks_that_wait_for_one_that_never_starts(small_options: Sequence[str], tmp_path: Path) -> None:
    words = "train", *small_options, "--run", tmp_path / "run", "--mpi"
    start = command(2, *words, start=("-c", FAILS_BEFORE_MPI))
    with subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "other\n"
        assert "needs mpi4py" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
    assert process.returncode != 0
