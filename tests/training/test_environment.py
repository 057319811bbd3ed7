"""A run that goes on with other threads or libraries says so; one that goes on as it was says nothing."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.parallel import blas
from captioner.storage import checkpoint
from captioner.training.environment import changes, environment

NOW = {"threads": "2", "numpy": "2.4.6", "blas": "OpenBLAS 0.3.31 (Haswell)"}


def test_what_is_kept() -> None:
    assert environment(3) == {"threads": "3", "numpy": np.__version__, "blas": blas.name()}


def test_the_blas_is_named_with_its_version_and_kernel() -> None:
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    assert built["version"] in blas.name()
    assert ("(" in blas.name()) == ("openblas" in built["name"])


@pytest.mark.parametrize("key", NOW)
def test_each_of_them_is_told_when_it_changes(key: str) -> None:
    (told,) = changes({**NOW, key: "7"}, NOW)
    assert f" 7 to {NOW[key]}; the run goes on" in told


def test_nothing_is_told_when_nothing_changed_or_nothing_is_known() -> None:
    assert list(changes(NOW, NOW)) == list(changes({}, NOW)) == []


def test_all_of_them_are_told_in_one_line() -> None:
    (told,) = changes(dict.fromkeys(NOW, "1"), NOW)
    assert told.startswith("changed since the checkpoint was saved: threads 1 to 2, NumPy 1 to 2.4.6, BLAS 1 to ")
    assert "\n" not in told


def test_a_resumed_run_warns_of_other_threads_alone(cli: Callable[..., Any], own_run: Path) -> None:
    last = own_run / "last.h5"
    assert checkpoint.load(last).meta.environment == environment(2)
    same = cli("train", "--resume", own_run, "-o", "train.epochs=3")
    assert (same.code, "changed since" in same.err) == (0, False)
    other = cli("train", "--resume", own_run, "-o", "train.epochs=4", "-o", "threads=1")
    assert other.code == 0
    assert "\nwarning: changed since the checkpoint was saved: threads 2 to 1; the run goes on, " in other.err
    assert checkpoint.load(last).meta.environment == environment(1)


def test_a_checkpoint_of_another_numpy_is_resumed_with_a_warning(cli: Callable[..., Any], own_run: Path) -> None:
    saved = checkpoint.load(own_run / "last.h5")
    meta = dataclasses.replace(saved.meta, environment={**saved.meta.environment, "numpy": "1.26.0"})
    checkpoint.save(own_run / "last.h5", dataclasses.replace(saved, meta=meta))
    done = cli("train", "--resume", own_run, "-o", "train.epochs=3")
    assert done.code == 0
    assert f"warning: changed since the checkpoint was saved: NumPy 1.26.0 to {np.__version__}; " in done.err
