"""Learning-rate schedules and warm-up against their formulas."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.optim.schedules import SCHEDULES, Span, learning_rate_factor

SPAN = Span(total_steps=100, steps_per_epoch=10, lr_decay=0.5, warmup_steps=20)


@pytest.mark.parametrize(
    ("name", "step", "factor"),
    [
        *(("constant", step, 1.0) for step in (20, 50, 99)),
        ("exponential", 20, 0.25),
        ("exponential", 29, 0.25),
        ("exponential", 30, 0.125),
        ("exponential", 99, 0.5**9),
        ("cosine", 20, 1.0),
        ("cosine", 40, 0.5 * (1 + math.cos(math.pi / 4))),
        ("cosine", 60, 0.5),
        ("cosine", 100, 0.0),
        ("cosine", 250, 0.0),
    ],
)
def test_schedules_after_the_warm_up(name: str, step: int, factor: float) -> None:
    assert learning_rate_factor(SCHEDULES[name], step, SPAN) == pytest.approx(factor, abs=1e-15)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_warm_up_is_linear_up_to_1(schedule: Callable[[int, Span], float]) -> None:
    factors = [learning_rate_factor(schedule, step, SPAN) for step in range(20)]
    np.testing.assert_allclose(np.diff([0, *factors]), 1 / 20)
    assert factors[-1] == 1
    for steps in (0, 1):
        assert learning_rate_factor(schedule, 0, SPAN._replace(warmup_steps=steps)) == 1


@settings(deadline=None, max_examples=60)
@given(total=st.integers(1, 50), warmup=st.integers(0, 60), step=st.integers(0, 60))
def test_factors_are_between_0_and_1(total: int, warmup: int, step: int) -> None:
    span = Span(total, 5, 0.9, warmup)
    for schedule in SCHEDULES.values():
        assert 0 <= learning_rate_factor(schedule, step, span) <= 1


def test_cosine_decreases() -> None:
    span = Span(total_steps=30, steps_per_epoch=3, warmup_steps=5)
    factors = [learning_rate_factor(SCHEDULES["cosine"], step, span) for step in range(5, 31)]
    assert all(before > after for before, after in pairwise(factors))
