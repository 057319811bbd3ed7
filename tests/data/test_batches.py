"""Batches: each caption once per epoch, in an order determined by seed and step."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from captioner.data.batches import ShuffledBatches, sequential_batches, steps_per_epoch, take
from captioner.data.corpus import Split

counts, sizes, seeds = st.integers(1, 40), st.integers(1, 45), st.integers(0, 2**40)


def split_of(captions: int) -> Split:
    """Caption k begins with k and belongs to image k // 3, whose feature is its number."""
    images = -(-captions // 3)
    return Split(
        captions=np.arange(captions, dtype=np.int32)[:, None] * [1, 1, 1] + [0, 100, 200],
        image_idxs=np.arange(captions, dtype=np.int32) // 3,
        features=np.arange(images, dtype=np.float32)[:, None] + np.zeros(2, np.float32),
        image_ids=[str(image) for image in range(images)],
    )


@given(counts, sizes, seeds, st.integers(0, 3))
def test_every_epoch_contains_each_caption_once(captions: int, size: int, seed: int, epoch: int) -> None:
    batches = ShuffledBatches(split_of(captions), size, seed)
    assert batches.per_epoch == steps_per_epoch(captions, size)
    rows = [batches.rows(epoch * batches.per_epoch + step) for step in range(batches.per_epoch)]
    assert sorted(np.concatenate(rows)) == list(range(captions))
    assert [len(few) for few in rows[:-1]] == [size] * (len(rows) - 1)
    assert 1 <= len(rows[-1]) <= size


@given(counts, sizes, seeds, st.lists(st.integers(0, 200), min_size=1))
def test_a_batch_depends_only_on_seed_and_step(captions: int, size: int, seed: int, steps: list[int]) -> None:
    split = split_of(captions)
    jumping = ShuffledBatches(split, size, seed)
    for step in steps:
        fresh = ShuffledBatches(split, size, seed).batch(step)
        for jumped, expected in zip(jumping.batch(step)[:2], fresh[:2], strict=True):
            np.testing.assert_array_equal(jumped, expected)


def test_epochs_and_seeds_differ() -> None:
    split = split_of(40)
    orders = [ShuffledBatches(split, 40, seed).rows(epoch).tolist() for seed in range(5) for epoch in range(5)]
    assert len({tuple(order) for order in orders}) == len(orders)


@given(counts, sizes, seeds)
def test_features_are_those_of_the_caption(captions: int, size: int, seed: int) -> None:
    features, batch, *_ = ShuffledBatches(split_of(captions), size, seed).batch(0)
    np.testing.assert_array_equal(features[:, 0], batch[:, 0] // 3)
    np.testing.assert_array_equal(batch[:, 2] - batch[:, 0], 200)


@given(counts, sizes, st.none() | st.integers(1, 50))
def test_unshuffled_batches_follow_the_file_order(captions: int, size: int, most: int | None) -> None:
    split = split_of(captions)
    batches = list(sequential_batches(split, size, most))
    read = np.concatenate([batch for _, batch in batches])
    np.testing.assert_array_equal(read[:, 0], np.arange(min(captions, most or captions)))
    assert max(len(batch) for _, batch in batches) <= size
    np.testing.assert_array_equal(np.concatenate([few for few, _ in batches])[:, 0], read[:, 0] // 3)


def test_a_batch_is_a_copy() -> None:
    split = split_of(6)
    for taken in take(split, np.arange(6)):
        taken[...] = -1
    assert split.captions.min() == 0
    assert np.asarray(split.features).min() == 0
