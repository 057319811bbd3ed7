"""Training stops before the update if a loss or an array diverges."""

import math
import warnings
from typing import Any

import numpy as np
import pytest
from small_solver import Weighted, assert_equal, batches, model, plan, run, split

import captioner.training.solver
from captioner.arrays import Batch
from captioner.data.batches import ShuffledBatches
from captioner.errors import DivergenceError
from captioner.optim.update_rules import UPDATE_RULES
from captioner.training.solver import TrainState, recheck_loss, steps


class NonFiniteFeatures(ShuffledBatches):
    """Batches with NaN features at step 3."""

    def batch(self, step: int) -> Batch:
        batch = super().batch(step)
        return batch._replace(features=batch.features * np.nan) if step == 2 else batch


def test_non_finite_features_stop_before_the_update() -> None:
    diverging, good = model(), model()
    state = TrainState.fresh(diverging, UPDATE_RULES["adam"])
    with pytest.raises(
        DivergenceError,
        match=r"^step 3: .*got nan, .*not finite: features of 4 of 4 images in the batch; they were finite",
    ):
        list(steps(diverging, NonFiniteFeatures(split(), 4, 0, null=0), state, plan()))
    assert state.step == 2
    run(good, plan(2))
    assert_equal(diverging.params, good.params)


def test_a_non_finite_gradient_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    diverging = model()
    _, grads = diverging.loss(*batches().batch(0)[:2])
    grads["Wh"].flat[0] = np.inf
    monkeypatch.setattr(diverging, "backward", lambda *_, **__: grads)
    with pytest.raises(
        DivergenceError, match=r"^step 1: .* not finite: gradients Wh; try a smaller train.learning_rate"
    ):
        run(diverging, plan())


@pytest.mark.parametrize("name", model().params)
def test_a_parameter_that_an_update_makes_infinite_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Including one that the next batch does not read, such as the embedding of another word."""
    diverging, real = model(), captioner.training.solver.update

    def corrupt(*args: Any) -> None:
        real(*args)
        if args[5] == 3:
            diverging.params[name].flat[-1] = np.inf

    monkeypatch.setattr(captioner.training.solver, "update", corrupt)
    with pytest.raises(DivergenceError, match=rf"^step 3: .* after the update: parameters {name}; try a smaller"):
        run(diverging, plan())


def test_a_loss_far_above_log_v_is_divergence() -> None:
    diverging = model()
    diverging.params["b_vocab"][5] = -1e4
    with pytest.raises(DivergenceError, match=r"^step 1: .*at most 22\.0 per word, got [1-9]"):
        run(diverging, plan())


@pytest.mark.parametrize("weight", [-1.0, 0.0, 1e-6])
def test_weights_do_not_hide_divergence(weight: float) -> None:
    diverging = model()
    diverging.params["b_vocab"][5] = -1e4
    with pytest.raises(DivergenceError, match=r"^step 1: .*at most 22\.0 per word, got [1-9]"):
        list(steps(diverging, Weighted(weight), TrainState.fresh(diverging, UPDATE_RULES["adam"]), plan()))


def test_an_infinite_weight_is_divergence() -> None:
    trained = model()
    with pytest.raises(DivergenceError, match=r"^step 1: training diverged: .* not finite: gradients "):
        list(steps(trained, Weighted(-math.inf), TrainState.fresh(trained, UPDATE_RULES["adam"]), plan()))


def test_a_large_smoothed_loss_is_divergence() -> None:
    """The target words are likely, but another word is so unlikely that its smoothed target dominates the loss."""
    diverging = model()
    diverging.smoothing = 0.5
    diverging.params["b_vocab"][3] = -1e4
    with pytest.raises(DivergenceError, match=r"^step 1: .*at most 22\.0 per word, got [1-9]"):
        run(diverging, plan())


@pytest.mark.parametrize(("rule", "rate"), [("sgd", 1e30), ("adam", 1e39)])
def test_overflow_raises_an_error_without_numpy_warnings(rule: str, rate: float) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(DivergenceError):
            run(model(), plan(10, rule, learning_rate=rate))
    assert [str(warning.message) for warning in caught] == []


def test_recheck_loss_detects_divergence_of_the_last_update() -> None:
    trained, how = model(), plan(3)
    state = TrainState.fresh(trained, how.rule)
    list(steps(trained, batches(), state, how))
    recheck_loss(trained, batches(), state)
    trained.params["b_vocab"][0] = 1e9
    with pytest.raises(DivergenceError, match=r"^step 3: training diverged: expected a loss of at most 22.0 per word"):
        recheck_loss(trained, batches(), state)
