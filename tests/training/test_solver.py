"""The solver: steps, the time of their parts, and divergence, which stops training before the update."""

import copy
import math
import warnings
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_solver import PER_EPOCH, SIZES, Weighted, assert_equal, batches, model, plan, run

import captioner.training.solver
from captioner.errors import DivergenceError
from captioner.layers.dropout import Dropout
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.optim import SCHEDULES, UPDATE_RULES, clip_scale, global_norm, initial_slots, update
from captioner.training.solver import Stopwatch, TrainState, check_loss, steps


def test_records_count_steps_epochs_captions_and_words() -> None:
    records = run(model(), plan(10))
    assert [r.step for r in records] == list(range(1, 11))
    assert [r.epoch for r in records] == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]
    assert [r.captions for r in records] == [4, 4, 4, 2, 4, 4, 4, 2, 4, 4]
    assert [sum(r.words for r in records[i : i + 4]) for i in (0, 4)] == [5 * 3 + 5 * 5 + 4 * 1] * 2


def test_loss_and_gradient_norm_are_measured_before_the_update() -> None:
    fresh, trained, how = model(), model(), plan(1, seed=7)
    (record,) = run(trained, how)
    loss, grads = fresh.loss(batches().batch(0), np.random.default_rng((7, 1, 0)))
    assert record.loss == loss
    assert record.grad_norm == global_norm(grads)
    assert record.metrics == pytest.approx(
        {"word_loss": loss * 4 / record.words, "perplexity": math.exp(loss * 4 / record.words)}
    )


@pytest.mark.parametrize("rule", UPDATE_RULES)
def test_a_step_applies_the_update_rule_once(rule: str) -> None:
    expected, trained, how = model(), model(), plan(2, rule, clip_norm=0.5)
    slots = initial_slots(how.rule, expected.params)
    for step in range(2):
        _, grads = expected.loss(batches().batch(step), np.random.default_rng((0, 1, step)))
        scale = clip_scale(global_norm(grads), 0.5)
        update(how.rule, expected.params, grads, slots, how.hyper, step + 1, scale)
    run(trained, how)
    assert_equal(trained.params, expected.params)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_learning_rate_follows_schedule_and_warm_up(schedule: str) -> None:
    how = plan(9, schedule=schedule, warmup=3)
    factors = [1 / 3, 2 / 3, 1.0, *(SCHEDULES[schedule](step, how.span) for step in range(3, 9))]
    assert [r.learning_rate for r in run(model(), how)] == [0.01 * factor for factor in factors]


@pytest.mark.parametrize("rule", UPDATE_RULES)
@given(stop=st.integers(0, 10))
def test_resuming_from_any_step_equals_an_uninterrupted_run(rule: str, stop: int) -> None:
    how = plan(10, rule, "cosine", 2, clip_norm=1.0)
    uninterrupted, stopped = model(), model()
    state = TrainState.fresh(stopped, how.rule)
    records = list(islice(steps(stopped, batches(), state, how), stop))
    assert state.step == stop

    resumed = CaptioningRNN(SIZES, copy.deepcopy(state.params), 0, stopped.dropout)
    again = TrainState(resumed.params, copy.deepcopy(state.slots), state.step)
    records += steps(resumed, batches(), again, how)
    whole = TrainState.fresh(uninterrupted, how.rule)
    assert records == list(steps(uninterrupted, batches(), whole, how))
    assert_equal(resumed.params, uninterrupted.params)
    for slot in whole.slots:
        assert_equal(again.slots[slot], whole.slots[slot])


def test_dropout_and_order_depend_on_seed_and_step() -> None:
    losses = {run(model(), plan(1, seed=seed))[0].loss for seed in range(5)}
    assert len(losses) == 5
    frozen = plan(PER_EPOCH * 3, "sgd", learning_rate=1e-30)
    assert len({record.loss for record in run(model(), frozen)}) == PER_EPOCH * 3


def test_a_weighted_loss_has_no_perplexity() -> None:
    trained, plain, how = model(Dropout()), model(Dropout()), plan(2)
    weighted = list(steps(trained, Weighted(-0.5), TrainState.fresh(trained, how.rule), how))
    assert [record.metrics for record in weighted] == [{"reward": 0.5}, {"reward": 1.5}]
    assert weighted[0].loss == pytest.approx(-0.5 * run(plain, plan(1))[0].loss)
    assert weighted[0].record() == {
        "step": 1,
        "epoch": 1,
        "loss": weighted[0].loss,
        "captions": 4,
        "words": weighted[0].words,
        "grad_norm": weighted[0].grad_norm,
        "learning_rate": 0.01,
        "reward": 0.5,
    }


def test_label_smoothing_does_not_change_perplexity() -> None:
    smooth, plain = model(Dropout()), model(Dropout())
    smooth.smoothing = 0.3
    (smoothed,), (record,) = run(smooth, plan(1)), run(plain, plan(1))
    assert smoothed.metrics == record.metrics
    assert smoothed.loss != record.loss


def test_seconds_are_added_up_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([1.0, 3.0, 10.0, 14.5, 20.0, 20.25, 30.0, 32.0])
    monkeypatch.setattr("captioner.training.solver.perf_counter", lambda: next(ticks))
    watch = Stopwatch()
    for part in ("reading", "forward", "reading"):
        with watch(part):
            pass
    with pytest.raises(ZeroDivisionError), watch("update"):
        _ = 1 / 0
    assert watch.seconds == {"reading": 2.25, "forward": 4.5, "update": 2.0}
    assert watch.seconds["never"] == 0.0


def test_a_non_finite_gradient_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    diverging = model()
    _, grads = diverging.loss(batches().batch(0))
    grads["Wh"].flat[0] = np.inf
    monkeypatch.setattr(diverging, "backward", lambda *_, **__: grads)
    with pytest.raises(
        DivergenceError, match=r"^step 1: .* not finite: gradients Wh; try a smaller train.learning_rate"
    ):
        run(diverging, plan())
    assert_equal(diverging.params, model().params)


@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("name", model().params)
def test_a_parameter_that_an_update_makes_infinite_is_named(
    name: str, number: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Including one that the next batch does not read, such as the embedding of another word."""
    diverging, real = model(), captioner.training.solver.update

    def corrupt(*args: Any) -> None:
        real(*args)
        if args[5] == 3:
            diverging.params[name].flat[-1] = number

    monkeypatch.setattr(captioner.training.solver, "update", corrupt)
    with pytest.raises(DivergenceError, match=rf"^step 3: .* after the update: parameters {name}; try a smaller"):
        run(diverging, plan())


LARGE_LOSS = r"^step 1: .*at most 22\.0 per word, got [1-9]"


@pytest.mark.parametrize("weight", [None, -1.0, 0.0, 1e-6])
def test_a_loss_far_above_log_v_is_divergence(weight: float | None) -> None:
    """Weights of the captions do not hide it."""
    diverging, how = model(), plan()
    diverging.params["b_vocab"][5] = -1e4
    source = batches() if weight is None else Weighted(weight)
    with pytest.raises(DivergenceError, match=LARGE_LOSS):
        list(steps(diverging, source, TrainState.fresh(diverging, how.rule), how))


def test_an_infinite_weight_is_divergence() -> None:
    trained, how = model(), plan()
    with pytest.raises(DivergenceError, match=r"^step 1: training diverged: .* not finite: gradients "):
        list(steps(trained, Weighted(-math.inf), TrainState.fresh(trained, how.rule), how))


def test_a_large_smoothed_loss_is_divergence() -> None:
    """The target words are likely, but another word is so unlikely that its smoothed target dominates the loss."""
    diverging = model()
    diverging.smoothing = 0.5
    diverging.params["b_vocab"][3] = -1e4
    with pytest.raises(DivergenceError, match=LARGE_LOSS):
        run(diverging, plan())


@pytest.mark.parametrize(("rule", "rate"), [("sgd", 1e30), ("adam", 1e39)])
def test_overflow_raises_an_error_without_numpy_warnings(rule: str, rate: float) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(DivergenceError):
            run(model(), plan(10, rule, learning_rate=rate))
    assert [str(warning.message) for warning in caught] == []


def test_a_loss_that_is_too_large_is_divergence() -> None:
    check_loss(model(), 3, 21.9)
    with pytest.raises(DivergenceError, match=r"^step 3: training diverged: expected a loss of at most 22.0 per word"):
        check_loss(model(), 3, 22.1)
