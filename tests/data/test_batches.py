"""Batches: each caption once per epoch, in an order determined by seed and step."""

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.data.batches import ShuffledBatches, sequential_batches, steps_per_epoch, take
from captioner.data.corpus import Split

counts, sizes, seeds = st.integers(1, 40), st.integers(1, 45), st.integers(0, 2**40)
per_image = st.sampled_from([1, 2, 3, 4, 5, 10**30])


def split_of(captions: int) -> Split:
    """Caption k begins with k and belongs to image k // 3, whose feature and two regions are its number."""
    images = -(-captions // 3)
    return Split(
        captions=np.arange(captions, dtype=np.int32)[:, None] * [1, 1, 1] + [0, 100, 200],
        image_idxs=np.arange(captions, dtype=np.int32) // 3,
        features=np.arange(images, dtype=np.float32)[:, None] + np.zeros(2, np.float32),
        image_ids=[str(image) for image in range(images)],
        regions=np.arange(images, dtype=np.float32)[:, None, None, None] * np.ones((2, 1, 1), np.float32),
    )


@given(counts, sizes, seeds, st.integers(0, 3), per_image)
def test_every_epoch_contains_each_caption_once(captions: int, size: int, seed: int, epoch: int, together: int) -> None:
    batches = ShuffledBatches(split_of(captions), size, seed, together, null=0)
    assert batches.per_epoch == steps_per_epoch(captions, size)
    rows = [batches.rows(epoch * batches.per_epoch + step) for step in range(batches.per_epoch)]
    assert sorted(np.concatenate(rows)) == list(range(captions))
    assert [len(few) for few in rows[:-1]] == [size] * (len(rows) - 1)
    assert 1 <= len(rows[-1]) <= size


@given(counts, sizes, seeds, st.lists(st.integers(0, 200), min_size=1), per_image)
def test_a_batch_depends_only_on_seed_and_step(
    captions: int, size: int, seed: int, steps: list[int], together: int
) -> None:
    split = split_of(captions)
    jumping = ShuffledBatches(split, size, seed, together, null=0)
    for step in steps:
        fresh = ShuffledBatches(split, size, seed, together, null=0).batch(step)
        for jumped, expected in zip(jumping.batch(step)[:2], fresh[:2], strict=True):
            np.testing.assert_array_equal(jumped, expected)


@pytest.mark.parametrize("together", [1, 2, 5])
def test_epochs_and_seeds_differ(together: int) -> None:
    split = split_of(40)
    orders = [
        ShuffledBatches(split, 40, seed, together, null=0).rows(epoch).tolist()
        for seed in range(5)
        for epoch in range(5)
    ]
    assert len({tuple(order) for order in orders}) == len(orders)


@given(counts, seeds, per_image)
def test_captions_of_an_image_follow_each_other(captions: int, seed: int, together: int) -> None:
    """Each image has three captions, but the last may have fewer."""
    split = split_of(captions)
    images = split.image_idxs[ShuffledBatches(split, captions, seed, together, null=0).rows(0)].tolist()
    runs = [len(list(run)) for _, run in groupby(images)]
    if together >= 3:
        assert len(runs) == split.features.shape[0]
    if together == 2:
        assert len(runs) <= 2 * split.features.shape[0]


def test_every_caption_may_be_the_first_of_its_image() -> None:
    split = split_of(12)
    orders = [ShuffledBatches(split, 12, seed, 3, null=0).rows(0).tolist() for seed in range(120)]
    assert {order[0] for order in orders} == set(range(12))


@given(counts, sizes, seeds, per_image)
def test_features_are_of_the_caption_and_regions_read_once_per_image(
    captions: int, size: int, seed: int, together: int
) -> None:
    batch = ShuffledBatches(split_of(captions), size, seed, together, null=0).batch(0)
    np.testing.assert_array_equal(batch.features[:, 0], batch.captions[:, 0] // 3)
    np.testing.assert_array_equal(batch.captions[:, 2] - batch.captions[:, 0], 200)
    assert batch.regions is not None
    assert len(set(batch.regions.values[:, 0, 0].tolist())) == len(batch.regions.values)
    np.testing.assert_array_equal(batch.regions.values[batch.regions.index, 1], batch.features[:, :1])


@given(counts, sizes)
def test_unshuffled_batches_follow_the_file_order(captions: int, size: int) -> None:
    split = split_of(captions)
    batches = list(sequential_batches(split, size))
    read = np.concatenate([batch.captions for batch in batches])
    np.testing.assert_array_equal(read[:, 0], np.arange(captions))
    assert max(len(batch.captions) for batch in batches) <= size
    np.testing.assert_array_equal(np.concatenate([batch.features for batch in batches])[:, 0], read[:, 0] // 3)


def test_a_batch_is_a_copy() -> None:
    split = split_of(6)
    for taken in take(split, np.arange(6))[:2]:
        taken[...] = -1
    assert split.captions.min() == 0
    assert np.asarray(split.features).min() == 0
