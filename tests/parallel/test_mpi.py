"""Ranks over MPI: what they exchange, and clear messages without MPI."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from mpi_runs import mpiexec, needs_mpiexec

EXCHANGE = """
import numpy as np
from captioner.errors import DataError
from captioner.parallel.ranks import start_mpi
from captioner.parallel.ranks import OtherRankError

ranks = start_mpi()
assert (ranks.size, ranks.local_size) == (3, 3)

def of(rank):
    rng = np.random.default_rng(rank)
    floats = {"W": rng.standard_normal((5, 7), np.float32), "b": rng.standard_normal(4, np.float32)}
    return {"W": floats["W"], "losses": rng.standard_normal(2), "b": floats["b"]}

every = [of(rank) for rank in range(3)]
for _ in range(2):  # buffers are used again
    summed = ranks.all_reduce(every[ranks.rank])
    assert list(summed) == ["W", "losses", "b"]
    for name, array in summed.items():
        in_order = (every[0][name] + every[1][name]) + every[2][name]
        assert array.dtype == in_order.dtype
        assert array.tobytes() == in_order.tobytes(), "the bits of a sum in the order of the ranks"
assert every[1]["W"].tobytes() == of(1)["W"].tobytes(), "the arrays of a rank do not change"

assert ranks.all_gather(ranks.rank) == [0, 1, 2]
for count in range(7):
    assert ranks.all_gather_partitions(ranks.partition(list(range(count)))) == list(range(count))

called = []
assert ranks.on_rank_0(lambda: called.append(ranks.rank) or ranks.on_rank_0(lambda: "nested")) == "nested"
assert called == [0] * (ranks.rank == 0)

def fail():
    raise DataError("only rank 0 knows why")

for expected in (DataError, OtherRankError)[min(ranks.rank, 1)],:
    try:
        ranks.on_rank_0(fail)
    except expected as error:
        assert error.exit_code == 1
    else:
        raise AssertionError("expected an error")
if ranks.all_gather("exchanged") == ["exchanged"] * 3 and ranks.rank == 0:
    print("all exchanged")
"""


@needs_mpiexec
def test_what_ranks_exchange() -> None:
    done = mpiexec(3, start=("-c", EXCHANGE))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "all exchanged\n"


WITHOUT = {
    "mpi4py": (
        "import sys; sys.modules['mpi4py'] = None; {}",
        {},
        r"captioner: --mpi needs mpi4py, which is not installed; try pip install 'mpi4py>=[\d.]+'",
    ),
    "library": (
        "{}",
        {"MPI4PY_LIBMPI": "/no/libmpi.so"},
        r"captioner: --mpi: mpi4py found no MPI library \(cannot load MPI library\); load the MPI module of the "
        "cluster, or install the package mpich",
    ),
    "launcher": (
        "{}",
        {},
        r"captioner: --mpi: expected several processes, got one without a launcher; try mpiexec -n 2 captioner \.\.\., "
        "or leave out --mpi",
    ),
    "matching launcher": (
        "{}",
        {"OMPI_COMM_WORLD_SIZE": "4"},
        r"captioner: --mpi: expected 4 ranks from OMPI_COMM_WORLD_SIZE, got separate processes: the launcher belongs "
        r"to another MPI library than that of mpi4py \(.*\); use its mpiexec",
    ),
}


@needs_mpiexec
@pytest.mark.parametrize("what", WITHOUT)
def test_without(
    what: str,
    shell: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, environment, message = WITHOUT[what]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    run = "import sys; sys.argv = ['captioner', 'train', '--mpi', '--run', 'new']; from captioner.cli import main; "
    done = shell(code=code.format(run + "main()"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(message + "\n", done.stderr), done.stderr
    assert not (tmp_path / "new").exists()
