"""Update rules, gradient norms, EMA, schedules and warm-up against their formulas."""

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.optim import (
    CHUNK,
    SCHEDULES,
    UPDATE_RULES,
    Hyper,
    Shard,
    Span,
    clip_scale,
    global_norm,
    initial_slots,
    learning_rate_factor,
    update,
    update_ema,
)
from captioner.parallel.thread_pool import ThreadPool

Array = np.ndarray
HYPER = Hyper(learning_rate=0.02, momentum=0.8, decay_rate=0.95, beta1=0.85, beta2=0.97, epsilon=1e-4, weight_decay=0.1)

every_rule = pytest.mark.parametrize("name", UPDATE_RULES)


class Reference:
    """The update rules as in the papers, out of place in float64."""

    def __init__(self, w: Array) -> None:
        self.w, self.a, self.b = w.astype(np.float64), np.zeros(w.shape), np.zeros(w.shape)

    def sgd(self, dw: Array, h: Hyper, t: int) -> None:
        self.w = self.w - h.learning_rate * dw

    def sgd_momentum(self, dw: Array, h: Hyper, t: int) -> None:
        self.a = h.momentum * self.a - h.learning_rate * dw
        self.w = self.w + self.a

    def rmsprop(self, dw: Array, h: Hyper, t: int) -> None:
        self.a = h.decay_rate * self.a + (1 - h.decay_rate) * dw**2
        self.w = self.w - h.learning_rate * dw / (np.sqrt(self.a) + h.epsilon)

    def adam(self, dw: Array, h: Hyper, t: int) -> None:
        self.a = h.beta1 * self.a + (1 - h.beta1) * dw
        self.b = h.beta2 * self.b + (1 - h.beta2) * dw**2
        m_hat, v_hat = self.a / (1 - h.beta1**t), self.b / (1 - h.beta2**t)
        self.w = self.w - h.learning_rate * m_hat / (np.sqrt(v_hat) + h.epsilon)

    def adamw(self, dw: Array, h: Hyper, t: int) -> None:
        decay = h.weight_decay if self.w.ndim > 1 else 0
        before = self.w
        self.adam(dw, h, t)
        self.w = self.w - h.learning_rate * decay * before


def train(name: str, w: Array, steps: int = 5, scale: float = 1.0, hyper: Hyper = HYPER) -> tuple[Array, Array]:
    """Apply the same gradients with a rule and with its reference."""
    rng = np.random.default_rng(1)
    rule, reference, params = UPDATE_RULES[name], Reference(w), {"w": np.copy(w, order="K")}
    slots = initial_slots(rule, params)
    for t in range(1, steps + 1):
        dw = rng.standard_normal(w.shape).astype(w.dtype)
        kept = dw.copy()
        update(rule, params, {"w": dw}, slots, hyper, t, scale)
        getattr(reference, name)(dw.astype(np.float64) * scale, hyper, t)
        np.testing.assert_array_equal(dw, kept)
    return params["w"], reference.w


@every_rule
@given(shape=st.lists(st.integers(0, 4), max_size=3), scale=st.sampled_from([1.0, 0.25]), seed=st.integers(0, 99))
def test_update_rules_match_their_formulas(name: str, shape: list[int], scale: float, seed: int) -> None:
    w = np.random.default_rng(seed).standard_normal(shape)
    got, expected = train(name, np.asarray(w), scale=scale)
    np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-13)


@every_rule
@pytest.mark.parametrize("shape", [(3, 4), CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 7])
def test_neither_chunks_nor_gaps_change_the_update(name: str, shape: Any) -> None:
    got, expected = train(name, np.random.default_rng(0).standard_normal(shape).T, steps=2)
    np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-13)


@every_rule
def test_float32_stays_float32(name: str) -> None:
    w = np.random.default_rng(0).standard_normal((30, 40)).astype(np.float32)
    got, expected = train(name, w)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    slots = initial_slots(UPDATE_RULES[name], {"w": w})
    assert {array.dtype for slot in slots.values() for array in slot.values()} <= {np.dtype(np.float32)}
    update(UPDATE_RULES[name], {"w": w}, {"w": np.ones_like(w)}, slots, HYPER, 1)
    assert {array.dtype for slot in slots.values() for array in slot.values()} <= {np.dtype(np.float32)}


@every_rule
def test_every_parameter_is_updated_in_place_with_its_own_slots(name: str) -> None:
    rng = np.random.default_rng(0)
    params = {"W": rng.standard_normal((3, 4)), "b": rng.standard_normal(4)}
    alone = {key: w.copy() for key, w in params.items()}
    arrays = dict(params)
    grads = {key: rng.standard_normal(w.shape) for key, w in params.items()}
    slots = initial_slots(UPDATE_RULES[name], params)
    assert slots.keys() == set(UPDATE_RULES[name].slots)
    update(UPDATE_RULES[name], params, grads, slots, HYPER, 1)
    for key, w in alone.items():
        update(UPDATE_RULES[name], {key: w}, grads, initial_slots(UPDATE_RULES[name], {key: w}), HYPER, 1)
        assert params[key] is arrays[key]
        np.testing.assert_array_equal(params[key], w)


SIZES = [(3, 5), (2 * CHUNK + 7,), (4,), (0, 3), (CHUNK,)]


@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_sharded_updates_equal_the_whole_update(size: int) -> None:
    rng, rule = np.random.default_rng(0), UPDATE_RULES["adam"]
    params, grads = ({str(k): rng.standard_normal(s) for k, s in enumerate(SIZES)} for _ in range(2))
    alone = {k: w.copy() for k, w in params.items()}
    slots = initial_slots(rule, params)
    for worker in reversed(range(size)):
        update(rule, params, grads, slots, HYPER, 1, shard=Shard(worker, size))
    update(rule, alone, grads, initial_slots(rule, alone), HYPER, 1)
    for k in params:
        np.testing.assert_array_equal(params[k], alone[k])


@given(shapes=st.lists(st.lists(st.integers(0, 3), max_size=3), max_size=4))
def test_global_norm_is_the_norm_of_the_concatenated_gradients(shapes: list[list[int]]) -> None:
    rng = np.random.default_rng(0)
    grads = {str(k): np.asarray(rng.standard_normal(shape)) for k, shape in enumerate(shapes)}
    whole = np.concatenate([np.zeros(1), *(g.ravel() for g in grads.values())])
    assert global_norm(grads) == pytest.approx(float(np.linalg.norm(whole)), rel=1e-12)


def test_global_norm_of_float32_is_a_float() -> None:
    length = global_norm({"a": np.full(10_000, 3, np.float32), "b": np.full((2, 2), 4, np.float32)})
    assert type(length) is float
    assert length == pytest.approx(math.sqrt(90_064), rel=1e-6)


def test_global_norm_does_not_depend_on_dict_order() -> None:
    """Plain summation depends on the order: 2⁻⁵⁴ is lost once 1 has been added."""
    tiny = {f"b{k:02}": np.array([2.0**-27]) for k in range(8)}
    first, last = {"a": np.array([1.0]), **tiny}, {**tiny, "a": np.array([1.0])}
    plain = [functools.reduce(operator.add, (float(g @ g) for g in grads.values())) for grads in (first, last)]
    assert math.sqrt(plain[0]) != math.sqrt(plain[1])
    assert global_norm(first) == global_norm(last)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_global_norm_is_bit_identical_for_any_number_of_workers(dtype: type) -> None:
    rng = np.random.default_rng(3)
    grads = {"W": rng.standard_normal((3, CHUNK)).astype(dtype), "b": rng.standard_normal(7).astype(dtype)}
    assert len({global_norm(grads, ThreadPool(size)) for size in (1, 2, 3)}) == 1


def test_global_norm_is_not_finite_if_a_gradient_is_not() -> None:
    assert math.isnan(global_norm({"a": np.array([1.0, np.nan])}))
    assert math.isinf(global_norm({"a": np.array([1.0, np.inf])}))


@pytest.mark.parametrize(
    ("norm", "limit", "scale"), [(4.0, None, 1.0), (4.0, 5.0, 1.0), (5.0, 5.0, 1.0), (10.0, 5.0, 0.5), (0.0, 5.0, 1.0)]
)
def test_clip_scale(norm: float, limit: float | None, scale: float) -> None:
    assert clip_scale(norm, limit) == scale


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("has_warmup", [True, False])
def test_ema_is_its_formula(size: int, has_warmup: bool) -> None:
    rng = np.random.default_rng(0)
    params = {str(k): rng.standard_normal(size) for k, size in enumerate(SIZES)}
    ema = {name: w.copy() for name, w in params.items()}
    expected = {name: w.copy() for name, w in params.items()}
    for t in range(1, 8):
        for w in params.values():
            w += rng.standard_normal(w.shape)
        decay = min(0.4, t / (t + 9)) if has_warmup else 0.4
        expected = {name: decay * a + (1 - decay) * params[name] for name, a in expected.items()}
        for worker in range(size):
            update_ema(params, ema, 0.4, t if has_warmup else None, Shard(worker, size))
    for name, a in expected.items():
        np.testing.assert_allclose(ema[name], a, rtol=1e-12, atol=1e-15)


SPAN = Span(total_steps=100, steps_per_epoch=10, lr_decay=0.5, warmup_steps=20)


FACTORS = {
    "constant": {20: 1.0, 50: 1.0, 99: 1.0},
    "exponential": {20: 0.25, 29: 0.25, 30: 0.125, 99: 0.5**9},
    "cosine": {20: 1.0, 40: 0.5 * (1 + math.cos(math.pi / 4)), 60: 0.5, 100: 0.0, 250: 0.0},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_after_the_warm_up(name: str) -> None:
    for step, factor in FACTORS[name].items():
        assert learning_rate_factor(SCHEDULES[name], step, SPAN) == pytest.approx(factor, abs=1e-15)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_warm_up_is_linear_up_to_1(schedule: Callable[[int, Span], float]) -> None:
    factors = [learning_rate_factor(schedule, step, SPAN) for step in range(20)]
    np.testing.assert_allclose(np.diff([0, *factors]), 1 / 20)
    assert factors[-1] == 1
    for steps in (0, 1):
        assert learning_rate_factor(schedule, 0, SPAN._replace(warmup_steps=steps)) == 1


@given(total=st.integers(1, 50), warmup=st.integers(0, 60), step=st.integers(0, 60))
def test_factors_are_between_0_and_1(total: int, warmup: int, step: int) -> None:
    span = Span(total, 5, 0.9, warmup)
    for schedule in SCHEDULES.values():
        assert 0 <= learning_rate_factor(schedule, step, span) <= 1
