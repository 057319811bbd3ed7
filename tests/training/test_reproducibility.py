"""Resuming with another thread count or library version emits a warning."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from captioner.files import checkpoint
from captioner.parallel.machine import describe_blas
from captioner.training.run import changes, environment

NOW = {"threads": "2", "ranks": "1", "numpy": "2.4.6", "blas": "OpenBLAS 0.3.31 (Haswell)"}


def test_environment() -> None:
    assert environment(3, 4) == {"threads": "3", "ranks": "4", "numpy": np.__version__, "blas": str(describe_blas())}
    assert environment(3)["ranks"] == "1"


def test_no_warning_without_changes() -> None:
    assert list(changes(NOW, NOW)) == []


def test_all_changes_are_reported_in_one_warning() -> None:
    (warning,) = changes(dict.fromkeys(NOW, "7"), NOW)
    begin = "changed since the checkpoint was saved: threads 7 to 2, ranks 7 to 1, NumPy 7 to 2.4.6, BLAS 7 to "
    assert warning.startswith(begin)
    assert "\n" not in warning


def test_resuming_warns_only_of_another_thread_count(cli: Callable[..., Any], own_run: Path) -> None:
    last = own_run / "last.h5"
    assert checkpoint.load(last).meta.environment.items() >= environment(2).items()
    same = cli("train", "--resume", own_run, "-o", "train.epochs=3")
    assert (same.code, "changed since" in same.err) == (0, False)
    other = cli("train", "--resume", own_run, "-o", "train.epochs=4", "-o", "threads=1")
    assert other.code == 0
    assert "\nwarning: changed since the checkpoint was saved: threads 2 to 1; training continues, " in other.err
    assert checkpoint.load(last).meta.environment.items() >= environment(1).items()
