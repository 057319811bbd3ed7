"""The training loop: what a step records, that it resumes anywhere, and that it stops before harm is done."""

import copy
import math
import warnings
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import captioner.training.solver
from captioner.arrays import Batch
from captioner.data.batches import ShuffledBatches, in_order
from captioner.data.corpus import Split
from captioner.errors import DivergenceError
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.dropout import Dropout
from captioner.model.parameters import Sizes, initial_params
from captioner.model.perplexity import mean_word_loss, perplexity
from captioner.optim.clipping import clip_scale, global_norm
from captioner.optim.schedules import SCHEDULES, Span
from captioner.optim.update_rules import UPDATE_RULES, Hyper, initial_slots, update
from captioner.parallel.stopwatch import Stopwatch
from captioner.training.solver import Plan, Step, TrainState, recheck_loss, steps

SIZES = Sizes(vocab=9, feature=5, wordvec=4, hidden=6)
PER_EPOCH = 4
WORDS = np.array([[1, 4, 5, 2, 0, 0], [1, 6, 7, 8, 5, 2], [1, 2, 0, 0, 0, 0]])


def split() -> Split:
    rng = np.random.default_rng(5)
    captions = WORDS[np.arange(14) % 3].astype(np.int32)
    return Split(captions, np.arange(14, dtype=np.int32) % 7, rng.standard_normal((7, 5)), [str(i) for i in range(7)])


def batches(seed: int = 0) -> ShuffledBatches:
    return ShuffledBatches(split(), 4, seed)


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


def test_records_count_steps_epochs_captions_and_words() -> None:
    records = run(model(), plan(10))
    assert [r.step for r in records] == list(range(1, 11))
    assert [r.epoch for r in records] == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]
    assert [r.captions for r in records] == [4, 4, 4, 2, 4, 4, 4, 2, 4, 4]
    assert [sum(r.words for r in records[i : i + 4]) for i in (0, 4)] == [5 * 3 + 5 * 5 + 4 * 1] * 2


def test_loss_and_norm_are_those_before_the_update() -> None:
    fresh, trained, how = model(), model(), plan(1, seed=7)
    (record,) = run(trained, how)
    loss, grads = fresh.loss(*batches().batch(0)[:2], np.random.default_rng((7, 1, 0)))
    assert record.loss == loss
    assert record.grad_norm == global_norm(grads)
    assert record.figures == pytest.approx(
        {"word_loss": loss * 4 / record.words, "perplexity": math.exp(loss * 4 / record.words)}
    )


@pytest.mark.parametrize("rule", UPDATE_RULES)
def test_a_step_is_one_update_by_the_rule(rule: str) -> None:
    by_hand, trained, how = model(), model(), plan(2, rule, clip_norm=0.5)
    slots = initial_slots(how.rule, by_hand.params)
    for step in range(2):
        _, grads = by_hand.loss(*batches().batch(step)[:2], np.random.default_rng((0, 1, step)))
        scale = clip_scale(global_norm(grads), 0.5)
        update(how.rule, by_hand.params, grads, slots, how.hyper, step + 1, scale)
    run(trained, how)
    assert_equal(trained.params, by_hand.params)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_learning_rate_follows_schedule_and_warm_up(schedule: str) -> None:
    how = plan(9, schedule=schedule, warmup=3)
    factors = [1 / 3, 2 / 3, 1.0, *(SCHEDULES[schedule](step, how.span) for step in range(3, 9))]
    assert [r.learning_rate for r in run(model(), how)] == [0.01 * factor for factor in factors]


def test_clipping_bounds_a_step_of_sgd() -> None:
    for clip, factor in ((None, 1.0), (1e9, 1.0), (0.01, 0.01)):
        trained = model()
        before = copy.deepcopy(trained.params)
        (record,) = run(trained, plan(1, "sgd", clip_norm=clip))
        moved = global_norm({name: trained.params[name] - before[name] for name in before})
        assert moved == pytest.approx(0.01 * (factor if factor < 1 else record.grad_norm), rel=1e-3)


@pytest.mark.parametrize("rule", UPDATE_RULES)
@settings(max_examples=8, deadline=None)
@given(stop=st.integers(0, 10))
def test_a_state_goes_on_exactly_where_it_stopped(rule: str, stop: int) -> None:
    how = plan(10, rule, "cosine", 2, clip_norm=1.0)
    straight, stopped = model(), model()
    state = TrainState.fresh(stopped, how.rule)
    records = list(islice(steps(stopped, batches(), state, how), stop))
    assert state.step == stop

    resumed = CaptioningRNN(SIZES, copy.deepcopy(state.params), 0, stopped.dropout)
    again = TrainState(resumed.params, copy.deepcopy(state.slots), state.step)
    records += steps(resumed, batches(), again, how)
    whole = TrainState.fresh(straight, how.rule)
    assert records == list(steps(straight, batches(), whole, how))
    assert_equal(resumed.params, straight.params)
    for slot in whole.slots:
        assert_equal(again.slots[slot], whole.slots[slot])


def test_noise_and_order_change_with_the_seed_and_the_step() -> None:
    losses = {run(model(), plan(1, seed=seed))[0].loss for seed in range(5)}
    assert len(losses) == 5
    still = plan(PER_EPOCH * 3, "sgd", learning_rate=1e-30)
    assert len({record.loss for record in run(model(), still)}) == PER_EPOCH * 3


class Poisoned(ShuffledBatches):
    """A feature is not finite at step 3."""

    def batch(self, step: int) -> Batch:
        batch = super().batch(step)
        return batch._replace(features=batch.features * np.nan) if step == 2 else batch


def test_a_step_that_is_not_finite_is_not_taken() -> None:
    diverging, good = model(), model()
    state = TrainState.fresh(diverging, UPDATE_RULES["adam"])
    with pytest.raises(
        DivergenceError,
        match=r"^step 3: .*got nan, .*not finite: features of 4 of 4 images in the batch; they were finite",
    ):
        list(steps(diverging, Poisoned(split(), 4, 0), state, plan()))
    assert state.step == 2
    run(good, plan(2))
    assert_equal(diverging.params, good.params)


def test_the_gradient_that_is_not_finite_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    diverging = model()
    _, grads = diverging.loss(*batches().batch(0)[:2])
    grads["Wh"].flat[0] = np.inf
    monkeypatch.setattr(diverging, "backward", lambda *_, **__: grads)
    with pytest.raises(
        DivergenceError, match=r"^step 1: .* not finite: gradients Wh; try a smaller train.learning_rate"
    ):
        run(diverging, plan())


@pytest.mark.parametrize("name", model().params)
def test_a_parameter_is_named_at_the_step_that_spoils_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that the next batch does not read, as the vector of another word."""
    diverging, real = model(), captioner.training.solver.update

    def spoil(*known: Any) -> None:
        real(*known)
        if known[5] == 3:
            diverging.params[name].flat[-1] = np.inf

    monkeypatch.setattr(captioner.training.solver, "update", spoil)
    with pytest.raises(DivergenceError, match=rf"^step 3: .* after the update: parameters {name}; try a smaller"):
        run(diverging, plan())


def test_a_loss_far_above_guessing_is_divergence() -> None:
    hopeless = model()
    hopeless.params["b_vocab"][5] = -1e4
    with pytest.raises(DivergenceError, match=r"^step 1: .*at most 22\.0 a word, got [1-9]"):
        run(hopeless, plan())


class Weighted(ShuffledBatches):
    """Captions with weights, and figures to record."""

    def __init__(self, weight: float) -> None:
        super().__init__(split(), 4, 0)
        self.weight = weight

    def batch(self, step: int) -> Batch:
        batch = super().batch(step)
        return batch._replace(weights=np.full(len(batch.captions), self.weight), figures={"reward": 0.5 + step})


def test_a_weighted_loss_is_no_perplexity() -> None:
    trained, plain, how = model(Dropout()), model(Dropout()), plan(2)
    weighted = list(steps(trained, Weighted(-0.5), TrainState.fresh(trained, how.rule), how))
    assert [record.figures for record in weighted] == [{"reward": 0.5}, {"reward": 1.5}]
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


@pytest.mark.parametrize("weight", [-1.0, 0.0, 1e-6])
def test_weights_hide_no_divergence(weight: float) -> None:
    hopeless = model()
    hopeless.params["b_vocab"][5] = -1e4
    with pytest.raises(DivergenceError, match=r"^step 1: .*at most 22\.0 a word, got [1-9]"):
        list(steps(hopeless, Weighted(weight), TrainState.fresh(hopeless, UPDATE_RULES["adam"]), plan()))


def test_a_weight_that_is_not_finite_is_divergence() -> None:
    trained = model()
    with pytest.raises(DivergenceError, match=r"^step 1: training diverged: .* not finite: gradients "):
        list(steps(trained, Weighted(-math.inf), TrainState.fresh(trained, UPDATE_RULES["adam"]), plan()))


def test_label_smoothing_is_in_no_perplexity() -> None:
    smooth, plain = model(Dropout()), model(Dropout())
    smooth.smoothing = 0.3
    (one,), (other,) = run(smooth, plan(1)), run(plain, plan(1))
    assert one.figures == other.figures
    assert one.loss != other.loss


def test_a_smoothed_loss_that_is_hopeless_is_divergence() -> None:
    """The words of the captions are likely, but others so unlikely that their share of the target is hopeless."""
    hopeless = model()
    hopeless.smoothing = 0.5
    hopeless.params["b_vocab"][3] = -1e4
    with pytest.raises(DivergenceError, match=r"^step 1: .*at most 22\.0 a word, got [1-9]"):
        run(hopeless, plan())


@pytest.mark.parametrize(("rule", "rate"), [("sgd", 1e30), ("adam", 1e39)])
def test_an_overflow_is_told_once_and_by_the_error_alone(rule: str, rate: float) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with pytest.raises(DivergenceError):
            run(model(), plan(10, rule, learning_rate=rate))
    assert [str(warning.message) for warning in told] == []


def test_the_mean_word_loss_counts_every_word_alike() -> None:
    trained = model()
    features, captions = np.asarray(split().features)[split().image_idxs], split().captions
    for most in (None, 2):
        mean = trained.word_losses(features[:most], captions[:most]).mean()
        for size in (1, 3, 14):
            assert mean_word_loss(trained, in_order(split(), size, most)) == pytest.approx(mean, rel=1e-6)


def test_a_model_that_guesses_has_the_loss_of_guessing() -> None:
    guessing = model()
    for w in guessing.params.values():
        w[...] = 0
    assert mean_word_loss(guessing, in_order(split(), 4)) == pytest.approx(math.log(9))


def test_measuring_changes_nothing() -> None:
    trained = model()
    before = copy.deepcopy(trained.params)
    mean_word_loss(trained, in_order(split(), 4))
    assert_equal(trained.params, before)


def test_perplexity_has_no_overflow() -> None:
    assert perplexity(0.0) == 1.0
    assert perplexity(math.log(45)) == pytest.approx(45)
    assert perplexity(1e4) == math.inf


def test_it_learns() -> None:
    records = run(model(Dropout()), plan(120, learning_rate=0.02))
    assert records[-1].figures["perplexity"] < 1.5 < 4 < records[0].figures["perplexity"]


def test_a_state_that_the_last_update_blew_up_is_seen_before_it_is_saved() -> None:
    trained, how = model(), plan(3)
    state = TrainState.fresh(trained, how.rule)
    list(steps(trained, batches(), state, how))
    recheck_loss(trained, batches(), state)
    trained.params["b_vocab"][0] = 1e9
    with pytest.raises(DivergenceError, match=r"^step 3: training diverged: expected a loss of at most 22.0 a word"):
        recheck_loss(trained, batches(), state)


def test_the_watch_has_the_time_of_every_part_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def lasting(seconds: float, work):
        def later(*args, **options):
            clock[0] += seconds
            return work(*args, **options)

        return later

    monkeypatch.setattr("captioner.parallel.stopwatch.perf_counter", lambda: clock[0])
    trained, source, how, watch = model(), batches(), plan(3, clip_norm=1.0), Stopwatch()
    state = TrainState.fresh(trained, how.rule)
    for owner, name, seconds in (
        (source, "batch", 1),
        (trained, "forward", 10),
        (trained, "backward", 100),
        (captioner.training.solver, "global_norm", 1000),
        (captioner.training.solver, "update", 10_000),
    ):
        monkeypatch.setattr(owner, name, lasting(seconds, getattr(owner, name)))
    for _ in steps(trained, source, state, how, watch):
        clock[0] += 1e6
    assert watch.seconds == {"reading": 3, "forward": 30, "backward": 300, "update": 36_000}


def test_watching_changes_nothing() -> None:
    watched, unwatched = model(), model()
    watch, how = Stopwatch(), plan(5)
    records = list(steps(watched, batches(), TrainState.fresh(watched, how.rule), how, watch))
    assert records == run(unwatched, how)
    assert_equal(watched.params, unwatched.params)
    assert all(seconds > 0 for seconds in watch.seconds.values())
