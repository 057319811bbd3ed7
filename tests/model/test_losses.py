"""Losses: those of the parts of a batch add up, dropout included; the mean over a split, and its perplexity."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_solver import model, split

from captioner.arrays import Array, Batch, SharedRows
from captioner.data.batches import ShuffledBatches, part_of_rank, sequential_batches
from captioner.data.corpus import Split
from captioner.layers.dropout import Dropout
from captioner.model.build import DECODERS, initial_params
from captioner.model.captioning_model import CaptioningModel, mean_word_loss
from captioner.model.losses import Losses, perplexity
from captioner.model.parameters import Sizes
from captioner.parallel.ranks import Ranks


class Rank(Ranks):
    """One rank of several, without the others."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size


def attending_model(decoder: str) -> CaptioningModel:
    sizes = Sizes(9, 4, 3, 6, decoder, "every", "adaptive", 3, 4, layers=2, heads=2, feed_forward=5)
    params = initial_params(sizes, np.random.default_rng(0).standard_normal, np.float64)
    return DECODERS[decoder](sizes, params, dropout=Dropout(0.5, 0.5, 0.5, 0.5, 0.5, 0.5), smoothing=0.1)


def regions_of(every: Array, images: Array) -> SharedRows:
    unique, place = np.unique(images, return_inverse=True)
    return SharedRows(every[unique], place)


@pytest.mark.parametrize("decoder", DECODERS)
@given(captions=st.integers(1, 9), size=st.integers(2, 4), weighted=st.booleans(), seed=st.integers(0, 99))
def test_the_parts_of_a_batch_add_up(decoder: str, captions: int, size: int, weighted: bool, seed: int) -> None:
    rng, m = np.random.default_rng(seed), attending_model(decoder)
    features, ids = rng.standard_normal((captions, 4)), rng.integers(0, 9, (captions, 6))
    images, every = rng.integers(0, 4, captions), rng.standard_normal((4, 2, 3))
    weights = rng.standard_normal(captions) if weighted else None

    def noise() -> np.random.Generator:
        return np.random.default_rng(seed)

    whole, cache = m.forward(Batch(features, ids, regions_of(every, images), weights), noise())
    expected = m.backward(cache)
    losses, grads = Losses(0.0, 0, 0.0, 0.0), {name: np.zeros_like(w) for name, w in m.params.items()}
    dealt: list[int] = []
    for rank in range(size):
        part = part_of_rank(ids, images, 0, Rank(rank, size))
        assert part is not None
        rows = part.rows
        dealt += rows.tolist()
        if not len(rows):
            continue
        rank_weights = None if weights is None else weights[rows]
        regions = regions_of(every, images[rows])
        shard, cache = m.forward(Batch(features[rows], ids[rows], regions, rank_weights, part=part), noise())
        losses = Losses(*(a + b for a, b in zip(losses, shard, strict=True)))
        for name, gradient in m.backward(cache).items():
            grads[name] += gradient
    assert sorted(dealt) == list(range(captions))
    assert losses == pytest.approx(whole, rel=1e-9, abs=1e-12)
    for name, gradient in expected.items():
        np.testing.assert_allclose(grads[name], gradient, rtol=1e-9, atol=1e-12, err_msg=name)


def split_of(captions: int) -> Split:
    """Caption k has k % 5 + 1 words after `<START>`."""
    ids = np.where(np.arange(6) <= np.arange(captions)[:, None] % 5 + 1, 1, 0).astype(np.int32)
    numbers = np.arange(captions, dtype=np.int32)
    return Split(ids, numbers, numbers[:, None].astype(np.float32), list(map(str, numbers)))


def test_each_rank_reads_its_captions_and_lengths_are_balanced() -> None:
    split, size = split_of(40), 3
    whole = ShuffledBatches(split, 30, 7, null=0).batch(0)
    parts = [ShuffledBatches(split, 30, 7, ranks=Rank(rank, size), null=0).batch(0) for rank in range(size)]
    assert whole.part is None
    assert sorted(np.concatenate([part.features for part in parts]).tolist()) == sorted(whole.features.tolist())
    words = [int((part.captions[:, 1:] != 0).sum()) for part in parts]
    assert max(words) - min(words) <= 5
    for part in parts:
        assert part.part is not None
        np.testing.assert_array_equal(whole.captions[part.part.rows], part.captions)
        lengths = (part.captions[:, 1:] != 0).sum(axis=1).tolist()
        assert lengths == sorted(lengths, reverse=True)


def test_ranks_share_the_captions_of_a_validation() -> None:
    split = split_of(10)
    batches = [batch for rank in range(3) for batch in sequential_batches(split, 4, Rank(rank, 3))]
    shares = [batch.features[:, 0].tolist() for batch in batches]
    assert [len(rows) for rows in shares] == [2, 2, 1, 1, 1, 1, 1, 1, 0]
    assert sorted(row for rows in shares for row in rows) == list(range(10))


def test_mean_word_loss_does_not_depend_on_batch_size() -> None:
    trained = model()
    features, captions = np.asarray(split().features)[split().image_idxs], split().captions
    mean = trained.word_losses(Batch(features, captions)).mean()
    for size in (1, 3, 14):
        assert mean_word_loss(trained, sequential_batches(split(), size)) == pytest.approx(mean, rel=1e-6)


def test_a_uniform_model_has_loss_log_v_and_is_not_changed() -> None:
    uniform = model()
    for w in uniform.params.values():
        w[...] = 0
    assert mean_word_loss(uniform, sequential_batches(split(), 4)) == pytest.approx(math.log(9))
    assert not any(w.any() for w in uniform.params.values())


def test_perplexity_does_not_overflow() -> None:
    assert perplexity(0.0) == 1.0
    assert perplexity(math.log(45)) == pytest.approx(45)
    assert perplexity(1e4) == math.inf
