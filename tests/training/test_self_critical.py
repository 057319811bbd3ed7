"""Self-critical training: rewards, the gradient of the surrogate loss, resumption and improvement."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import TrainRun, assert_same_arrays, history

from captioner.arrays import Batch
from captioner.captioning.load import open_run
from captioner.captioning.training_summary import TrainingSummary
from captioner.config.option_table import replaced
from captioner.config.options import Config
from captioner.config.overrides import read_overrides
from captioner.config.yaml_io import parse
from captioner.data.batches import steps_per_epoch
from captioner.data.corpus import Corpus
from captioner.decode.word_regression import TrainingFit
from captioner.errors import CheckpointError, DataError
from captioner.files import checkpoint
from captioner.gradcheck.numeric import Case, check_gradients
from captioner.metrics import CiderD
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.parallel.thread_pool import ThreadPool
from captioner.preparation.load_corpus import build_corpus
from captioner.training.resume import resume
from captioner.training.self_critical import SelfCritical
from captioner.training.train import NO_REWARDS, Warned

SCST = ("train.objective=self_critical", "train.learning_rate=0.003")


@pytest.fixture(scope="module")
def corpus(small: Sequence[str]) -> Corpus:
    return build_corpus(parse("", "", read_overrides(small)))


@pytest.fixture(scope="module")
def trained(train_run: TrainRun) -> Path:
    """A run trained until its greedy captions have positive rewards."""
    return train_run("train.epochs=30", "train.learning_rate=0.02")


@pytest.fixture(scope="module")
def model(trained: Path) -> CaptioningRNN:
    trained = open_run(trained).model
    return trained.with_params({name: w.astype(np.float64) for name, w in trained.params.items()})


@pytest.fixture(scope="module")
def summary(trained: Path) -> TrainingSummary:
    summary = open_run(trained).summary
    assert summary is not None
    return summary


def batches(
    model: CaptioningRNN, corpus: Corpus, seed: int = 7, threads: int = 1, samples: int = 5, **options: Any
) -> SelfCritical:
    values = {"seed": seed, "train.batch_size": 16, "train.samples": samples, "decode.max_length": 20}
    weight = {"train.similarity_weight": options.pop("similarity_weight", 0.0)}
    return SelfCritical(replaced(Config(), values | weight), corpus, model, pool=ThreadPool(threads), **options)


def batch(model: CaptioningRNN, corpus: Corpus, step: int = 3, **options: Any) -> tuple[Any, ...]:
    made = batches(model, corpus, **options).batch(step)
    return made.features, made.captions, made.weights, made.metrics


def test_weights_are_rewards_minus_the_mean_of_the_other_samples(model: CaptioningRNN, corpus: Corpus) -> None:
    features, captions, weights, figures = batch(model, corpus)
    split, vocab, images = corpus.split("train"), corpus.vocab, batches(model, corpus).images(3)
    np.testing.assert_array_equal(features, split.features[images])
    assert set(captions[:, 0]) == {vocab.start}
    references: list[list[list[int]]] = [[] for _ in split.image_ids]
    for image, caption in zip(split.image_idxs, split.captions.tolist(), strict=True):
        references[image].append([token for token in caption[1:] if token])
    sampled = [[token for token in caption[1:] if token] for caption in captions.tolist()]
    rewards = CiderD(references).score(images, sampled)
    expected = [
        reward - np.mean(np.delete(rewards, row)[np.delete(images, row) == image])
        for row, (reward, image) in enumerate(zip(rewards, images, strict=True))
    ]
    np.testing.assert_allclose(weights, expected, atol=1e-9)
    assert figures == pytest.approx({"reward": rewards.mean(), "advantage": np.abs(weights).mean()})
    assert len(set(map(tuple, sampled))) > 8
    assert (weights > 0).any()
    assert (weights < 0).any()


def test_the_reward_contains_the_similarity_expected_without_the_references_of_the_image(
    model: CaptioningRNN, corpus: Corpus, summary: TrainingSummary
) -> None:
    images, train = batches(model, corpus).images(3), corpus.split("train")
    alone, with_similarity = batch(model, corpus), batch(model, corpus, summary=summary, similarity_weight=2.0)
    captions, regression = alone[1], summary.regression
    np.testing.assert_array_equal(with_similarity[1], captions)
    fit = TrainingFit(train, corpus.vocab, summary.mean, summary.std, fitted=regression)
    own, shares = (regression.similarity(captions[:, None, 1:], shares)[:, 0] for shares in (
        regression.shares(summary.unit_rows(train.features[images])), fit.shares(images)))  # fmt: skip
    assert np.abs(own - shares).max() > 0.01
    assert with_similarity[3]["reward"] == pytest.approx(alone[3]["reward"] + 2 * shares.mean())
    added = 2 * (shares - shares.reshape(-1, 5).mean(axis=1).repeat(5)) * 5 / 4
    np.testing.assert_allclose(with_similarity[2], alone[2] + added, atol=1e-6)


@pytest.mark.parametrize("samples", [2, 5, 16])
def test_every_image_has_the_same_number_of_samples_however_many_references_it_has(
    model: CaptioningRNN, corpus: Corpus, samples: int
) -> None:
    split = corpus.split("train")
    rows = np.flatnonzero(np.append(True, np.diff(split.image_idxs)) | (split.image_idxs > 30))
    few = dataclasses.replace(split, captions=split.captions[rows], image_idxs=split.image_idxs[rows], texts=None)
    uneven = dataclasses.replace(corpus, splits={"train": few})
    assert {len(few.caption_rows(image)) for image in few.captioned_images} == {1, 5}
    one = batches(model, uneven, samples=samples)
    epoch = [one.images(step) for step in range(steps_per_epoch(40, 16 // samples))]
    assert {len(images) for images in epoch[:-1]} == {16 // samples * samples}
    assert np.bincount(np.concatenate(epoch)).tolist() == [samples] * 40
    assert all(set(np.unique(images, return_counts=True)[1]) == {samples} for images in epoch)
    assert len(one.batch(0).captions) == len(epoch[0])


def test_equal_samples_have_no_advantage(model: CaptioningRNN, corpus: Corpus) -> None:
    sharp = {name: w * 3000 if name in ("W_vocab", "b_vocab") else w for name, w in model.params.items()}
    assert np.abs(batch(model, corpus)[2]).mean() > 0.01
    assert np.abs(batch(model.with_params(sharp), corpus)[2]).max() < 1e-12


@pytest.mark.parametrize("full", [False, True])
def test_the_gradient_matches_the_surrogate_loss(model: CaptioningRNN, corpus: Corpus, full: bool) -> None:
    """The rewards are constants in the surrogate loss."""
    features, captions, weights, _ = batch(model, corpus)
    few = np.flatnonzero(weights)[:3]
    rng = np.random.default_rng(0)  # trained parameters, and so the errors, differ between processors
    model = model.with_params({name: rng.standard_normal(w.shape) / 4 for name, w in model.params.items()})
    params = {name: w for name, w in model.params.items() if not full or w.size < 40}

    def run() -> tuple[float, dict[str, np.ndarray]]:
        return model.loss(Batch(features[few], captions[few], weights=weights[few]))

    case = Case("scst", params, lambda: run()[0], lambda: run()[1])
    rows = list(check_gradients(case, np.random.default_rng(0), full))
    assert len(rows) == len(params) > 0
    assert [row for row in rows if not row.passed] == []


def test_a_batch_is_a_function_of_seed_step_and_parameters(model: CaptioningRNN, corpus: Corpus) -> None:
    first, again, split = batch(model, corpus), batch(model, corpus), batch(model, corpus, threads=3)
    assert first[3] == again[3] == split[3]
    for array, *others in zip(first[:3], again[:3], split[:3], strict=True):
        for other in others:
            np.testing.assert_array_equal(array, other)
    assert not np.array_equal(batch(model, corpus, step=4)[1], first[1])
    assert not np.array_equal(batch(model, corpus, seed=8)[1], first[1])
    other = model.with_params({name: 0 * w for name, w in model.params.items()})
    assert not np.array_equal(batch(other, corpus)[1], first[1])


@pytest.fixture(scope="module")
def reinforce(train_run: TrainRun, trained: Path) -> TrainRun:
    """Continues the trained run with self-critical training in a new folder."""
    return lambda *overrides: train_run(*SCST, f"train.init_from={trained}", *overrides)


@pytest.mark.parametrize("weight", [0, 3])
def test_a_resumed_run_equals_an_uninterrupted_one(weight: int, reinforce: TrainRun) -> None:
    whole, half = (reinforce(f"train.max_steps={steps}", f"train.similarity_weight={weight}") for steps in (6, 3))
    for _ in resume(half, {"train.max_steps": 6}):
        pass
    assert_same_arrays(half, whole)


def test_steps_record_rewards_instead_of_perplexity(reinforce: TrainRun) -> None:
    run = reinforce("train.epochs=1")
    steps = history(run, "step")
    assert len(steps) > 2
    for line in steps:
        assert not line.keys() & {"word_loss", "perplexity"}
        assert line["reward"] > 0
        assert line["advantage"] > 0
    assert all(line["perplexity"] > 1 for line in history(run, "validation"))


def test_training_increases_the_mean_reward(reinforce: TrainRun, trained: Path, corpus: Corpus) -> None:
    """Averaged over more sampled captions than a batch has."""
    longer = reinforce("train.epochs=40", "train.batch_size=200", "train.learning_rate=1e-2")
    before, after = open_run(trained).model, open_run(longer / "last.h5").model
    split = corpus.split("train")
    images = np.arange(split.features.shape[0])
    references: list[list[list[int]]] = [[] for _ in images]
    for image, caption in zip(split.image_idxs, split.captions.tolist(), strict=True):
        references[image].append([token for token in caption[1:] if token])
    reward = CiderD(references)

    def mean_reward(model: CaptioningRNN) -> float:
        """Average over some thousand sampled captions."""
        size, rewards = len(split.captions), []
        for seed in range(20):
            values = {"seed": seed, "train.batch_size": size, "decode.max_length": 20}
            sampled = SelfCritical(replaced(Config(), values), corpus, model)
            words = [[token for token in caption if token] for caption in sampled.batch(0).captions[:, 1:].tolist()]
            rewards.append(reward.score(sampled.images(0), words).mean())
        return float(np.mean(rewards))

    assert mean_reward(after) > 1.05 * mean_reward(before)


def test_init_from_parameters_that_overflow_the_dtype_is_rejected(
    reinforce: TrainRun, trained: Path, tmp_path: Path
) -> None:
    saved = checkpoint.load(trained / "best.h5")
    params = {name: w.astype(np.float64) for name, w in saved.params.items()}
    params["Wh"][0, 0] = 1e200
    slots = {slot: {name: w.astype(np.float64) for name, w in arrays.items()} for slot, arrays in saved.slots.items()}
    meta = dataclasses.replace(saved.meta, config={**saved.meta.config, "model.dtype": "float64"})
    checkpoint.save(tmp_path / "large.h5", dataclasses.replace(saved, meta=meta, params=params, slots=slots))
    with pytest.raises(CheckpointError, match=r"params/Wh: a parameter is too large for .* float32; set it to fl"):
        reinforce(f"train.init_from={tmp_path / 'large.h5'}")


def test_a_single_image_is_rejected(reinforce: TrainRun) -> None:
    with pytest.raises(DataError, match=r"at least 2 images for train\.objective self_critical"):
        reinforce("data.max_train=1")


def test_best_is_selected_by_a_score_that_every_epoch_has(reinforce: TrainRun) -> None:
    run = reinforce("train.epochs=3")
    scores = [line["scores"]["cider_d"] for line in history(run, "validation")]
    assert len(scores) == 4, "that of the start and those of all epochs"
    best = checkpoint.load(run / "best.h5").meta
    assert (best.best["epoch"], best.best["cider_d"]) == (int(np.argmax(scores)), max(scores))
    assert (open_run(run).checkpoint, best.best["step"]) == (f"best.h5 of step {best.step}", best.step)


@pytest.mark.parametrize(("reward", "warned"), [(0.0, [1, 2, 3]), (1.0, [])])
def test_rewards_of_0_are_a_warning_once(
    reward: float, warned: list[int], train_small: Any, trained: Path, new_run: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(CiderD, "score", lambda self, images, captions: np.full(len(captions), reward))
    events = train_small(*SCST, f"train.init_from={trained}", "train.max_steps=3")
    assert [event for event in events if isinstance(event, Warned)] == [Warned(1, NO_REWARDS) for _ in warned[:1]]
    assert [line["step"] for line in history(new_run, "warning")] == warned
