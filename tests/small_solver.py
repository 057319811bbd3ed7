"""A small model, its batches and a plan, for tests of the solver."""

import numpy as np

from captioner.arrays import Batch
from captioner.data.batches import ShuffledBatches
from captioner.data.corpus import Split
from captioner.layers.dropout import Dropout
from captioner.model.build import initial_params
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.parameters import Sizes
from captioner.optim import SCHEDULES, UPDATE_RULES, Hyper, Span
from captioner.training.solver import Plan, Step, TrainState, steps

SIZES = Sizes(vocab=9, feature=5, wordvec=4, hidden=6)
PER_EPOCH = 4
WORDS = np.array([[1, 4, 5, 2, 0, 0], [1, 6, 7, 8, 5, 2], [1, 2, 0, 0, 0, 0]])


def split() -> Split:
    rng = np.random.default_rng(5)
    captions = WORDS[np.arange(14) % 3].astype(np.int32)
    return Split(captions, np.arange(14, dtype=np.int32) % 7, rng.standard_normal((7, 5)), [str(i) for i in range(7)])


def batches(seed: int = 0) -> ShuffledBatches:
    return ShuffledBatches(split(), 4, seed, null=0)


def model(dropout: Dropout = Dropout(0.2, 0.3, 0.4)) -> CaptioningRNN:  # noqa: B008 - it is immutable
    return CaptioningRNN(SIZES, initial_params(SIZES, np.random.default_rng(1).standard_normal), 0, dropout)


def plan(total: int = 10, rule: str = "adam", schedule: str = "constant", warmup: int = 0, **options) -> Plan:
    hyper = Hyper(learning_rate=options.pop("learning_rate", 0.01))
    return Plan(UPDATE_RULES[rule], hyper, SCHEDULES[schedule], Span(total, PER_EPOCH, 0.5, warmup), **options)


def run(model: CaptioningRNN, plan: Plan) -> list[Step]:
    return list(steps(model, batches(), TrainState.fresh(model, plan.rule), plan))


def assert_equal(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


class Weighted(ShuffledBatches):
    """Batches with caption weights and figures."""

    def __init__(self, weight: float) -> None:
        super().__init__(split(), 4, 0, null=0)
        self.weight = weight

    def batch(self, step: int) -> Batch:
        batch = super().batch(step)
        return batch._replace(weights=np.full(len(batch.captions), self.weight), metrics={"reward": 0.5 + step})
