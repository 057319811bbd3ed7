"""Start the command line as several MPI ranks."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mpi4py")
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") or ""
needs_mpiexec = pytest.mark.skipif(not MPIEXEC, reason="needs mpiexec; the package mpich contains one")
CAPTIONER = ("-m", "captioner")
AT_STEP = """
import os, signal, sys, time
from captioner.errors import DataError
from captioner.training import train

def damage_data():
    raise DataError("data.h5: cannot be read")

def fill_disk():
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))

FAULTS = {"kill": lambda: os.kill(os.getpid(), signal.SIGKILL), "data": damage_data, "disk": fill_disk}

def steps(*args):
    for step in real(*args):
        if what == "slow" and step.step >= at:
            if step.step == at and os.environ["PMI_RANK"] == rank:
                print("slow", flush=True)
            time.sleep(0.2)
        elif step.step == at and os.environ["PMI_RANK"] == rank:
            FAULTS[what]()
        yield step

what, at, rank, real, train.steps = sys.argv[1], int(sys.argv[2]), sys.argv[3], train.steps, steps
sys.argv[1:] = sys.argv[4:]
from captioner.cli import main
main()
"""
"""The command line, with a fault on one rank after a step, or with all steps slow from one on."""


def command(ranks: int, *words: object, start: Sequence[str] = CAPTIONER) -> list[str]:
    """Return the words that start a command as several ranks."""
    return [MPIEXEC, "-n", str(ranks), sys.executable, *start, *map(str, words)]


def mpiexec(ranks: int, *words: object, start: Sequence[str] = CAPTIONER, **options: Any) -> Any:
    """Run a command as several ranks; a hang is a failure."""
    options = {"capture_output": True, "text": True, "timeout": 120, **options}
    return subprocess.run(command(ranks, *words, start=start), **options)
