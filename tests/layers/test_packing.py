"""Packing: each real time step has exactly one row."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from captioner.layers.packing import pack

SHARDS = st.integers(1, 4)
LENGTHS = st.lists(st.integers(0, 6), max_size=7).map(lambda lengths: np.array(lengths, int))


@given(LENGTHS)
def test_captions_are_sorted_stably_by_length(lengths: np.ndarray) -> None:
    assert pack(lengths).order.tolist() == sorted(range(len(lengths)), key=lambda n: (-lengths[n], n))


@given(LENGTHS, SHARDS)
def test_a_step_has_rows_for_its_unfinished_captions(lengths: np.ndarray, shards: int) -> None:
    packing, ends = pack(lengths, shards), [0]
    assert [shard.start for shard in packing.shards] == [0, *(shard.stop for shard in packing.shards[:-1])]
    for steps, shard in zip(packing.steps, packing.shards, strict=True):
        captions = packing.order[shard]
        assert len(steps) == lengths[captions].max(initial=0)
        for t, (start, end) in enumerate(steps):
            assert start == ends[-1]
            assert (packing.time[start:end] == t).all()
            assert packing.caption[start:end].tolist() == captions[: (lengths[captions] > t).sum()].tolist()
            ends.append(end)
    assert ends[-1] == len(packing.time) == lengths.sum()


@given(LENGTHS, SHARDS)
def test_shards_are_balanced(lengths: np.ndarray, shards: int) -> None:
    words = [int(lengths[pack(lengths, shards).order[shard]].sum()) for shard in pack(lengths, shards).shards]
    assert len(words) == shards
    assert max(words) - min(words) <= lengths.max(initial=0)


@given(LENGTHS, SHARDS, st.data())
def test_shards_of_images_are_balanced_and_split_few_images(
    lengths: np.ndarray, shards: int, data: st.DataObject
) -> None:
    image = np.array([data.draw(st.integers(0, 3)) for _ in lengths], int)
    packing = pack(lengths, shards, image)
    assert sorted(packing.order) == list(range(len(lengths)))
    captions = [packing.order[shard][lengths[packing.order[shard]] > 0] for shard in packing.shards]
    assert sum(len(set(image[part])) for part in captions) <= len(set(image[lengths > 0])) + shards - 1
    words = [int(lengths[part].sum()) for part in captions]
    assert max(words) - min(words) <= 2 * lengths.max(initial=0)
    for part, rows in zip(captions, packing.rows, strict=True):
        assert set(packing.caption[rows]) == set(part)


@given(LENGTHS, SHARDS)
def test_previous_is_the_row_one_step_before_or_the_initial_state(lengths: np.ndarray, shards: int) -> None:
    packing = pack(lengths, shards)
    # Rows of the states: initial states in packed order, then those of the steps.
    places = [(int(n), -1) for n in packing.order]
    places += zip(packing.caption.tolist(), packing.time.tolist(), strict=True)
    for n, t, previous in zip(packing.caption, packing.time, packing.previous, strict=True):
        assert places[previous] == (n, t - 1)


@given(LENGTHS, st.integers(0, 2), st.integers(1, 3))
def test_unpack_scatters_rows_into_zeros(lengths: np.ndarray, more: int, width: int) -> None:
    steps = int(lengths.max(initial=0)) + more
    padded = np.random.default_rng(0).standard_normal((len(lengths), steps, width))
    packing = pack(lengths)
    back = packing.unpack(padded[packing.caption, packing.time], steps)
    real = np.arange(steps) < lengths[:, None]
    assert back.shape == padded.shape
    assert (back[real] == padded[real]).all()
    assert (back[~real] == 0).all()
