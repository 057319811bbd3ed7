"""The scaling benchmark: no wrong sum is timed, and what is calculated follows from what was measured."""

import pytest

pytest.importorskip("mpi4py")

from benchmarks import checks, scaling, shapes
from benchmarks.results import efficiency
from benchmarks.tables import all_reduce_seconds, calculated_step, scaling_tables
from captioner.arrays import Params
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks

CASE = {"step": 0.3, "update": 0.03, "noise": 0.002, "all-reduce": 0.0, "bytes": 16e6}
SCALING = {
    "shape": "lstm",
    "captions": 128,
    "ranks": 2,
    "one": CASE,
    "weak": {**CASE, "step": 0.32, "all-reduce": 0.01},
    "strong": {**CASE, "step": 0.2, "all-reduce": 0.01},
}


class Doubling(Ranks):
    """A wrong sum: one gradient is added twice."""

    def all_reduce(self, arrays: Params) -> Params:
        return {**arrays, "b": 2 * arrays["b"]}


def test_a_wrong_sum_is_not_timed() -> None:
    shape = shapes.QUICK[0]
    model = CaptioningRNN(shape.sizes, shapes.parameters(shape), dropout=shape.dropout)
    nbytes = scaling.check(model, scaling.Dealt(*shapes.batch(shape), SINGLE_PROCESS), SINGLE_PROCESS)
    assert nbytes == sum(w.nbytes for w in model.params.values())
    with pytest.raises(checks.WrongResultError, match="gradient of b:"):
        scaling.check(model, scaling.Dealt(*shapes.batch(shape), SINGLE_PROCESS), Doubling())


def test_what_is_calculated_follows_from_what_was_measured() -> None:
    assert efficiency(SCALING) == pytest.approx(0.3 / 0.32)
    assert efficiency(SCALING, "strong") == pytest.approx(0.3 / 0.2 / 2)
    assert all_reduce_seconds(1, 16e6, 1e9) == 0
    exchange = all_reduce_seconds(4, 16e6, 1e9)
    assert exchange == pytest.approx(2 * 3 / 4 * 16e6 / 1e9 + 6 * 50e-6), "an ideal ring"
    for weak, four_ranks in ((True, 0.3 + 3 * 0.002), (False, 0.268 / 4 + 0.032)):
        assert calculated_step(SCALING, 1, 1e9, weak) == pytest.approx(0.3)
        assert calculated_step(SCALING, 4, 1e9, weak) == pytest.approx(four_ranks + exchange)
    measured, calculated = scaling_tables(SCALING)
    assert "| 2 ranks, 256 captions (weak) | 320 | 10 | 16.0 | 0.94 |" in measured
    assert calculated.startswith("| ranks, **calculated**")
    assert calculated.count("\n") == 6
