"""Comparison of the arrays in the checkpoints of two runs."""

from pathlib import Path

import numpy as np

from captioner.storage import checkpoint


def assert_same_arrays(one: Path, other: Path) -> None:
    """Check that the last checkpoints of two runs have equal parameters, slots and standardizers."""
    arrays, others = (checkpoint.load(run / "last.h5").groups() for run in (one, other))
    assert arrays.keys() == others.keys()
    for group, some in arrays.items():
        assert some.keys() == others[group].keys()
        for name, array in some.items():
            np.testing.assert_array_equal(array, others[group][name], err_msg=f"{group}/{name}")
