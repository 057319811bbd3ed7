"""Packed rows: each real step once, time after time, and nothing else."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.layers.packing import pack

PARTS = st.integers(1, 4)
LENGTHS = st.lists(st.integers(0, 6), max_size=7).map(lambda lengths: np.array(lengths, int))


@settings(deadline=None, max_examples=100)
@given(LENGTHS, PARTS)
def test_the_rows_are_the_real_steps(lengths: np.ndarray, parts: int) -> None:
    packing = pack(lengths, parts)
    places = list(zip(packing.caption.tolist(), packing.time.tolist(), strict=True))
    assert len(places) == lengths.sum()
    assert set(places) == {(n, t) for n, length in enumerate(lengths) for t in range(length)}
    for steps in packing.parts:
        times = [int(t) for start, end in steps for t in packing.time[start:end]]
        assert times == sorted(times)


@settings(deadline=None, max_examples=100)
@given(LENGTHS)
def test_the_longest_comes_first_and_equals_keep_their_order(lengths: np.ndarray) -> None:
    assert pack(lengths).order.tolist() == sorted(range(len(lengths)), key=lambda n: (-lengths[n], n))


@settings(deadline=None, max_examples=100)
@given(LENGTHS, PARTS)
def test_a_step_holds_its_live_captions_in_the_first_places(lengths: np.ndarray, parts: int) -> None:
    packing, ends = pack(lengths, parts), [0]
    assert [place.start for place in packing.places] == [0, *(place.stop for place in packing.places[:-1])]
    for steps, place in zip(packing.parts, packing.places, strict=True):
        captions = packing.order[place]
        assert len(steps) == lengths[captions].max(initial=0)
        for t, (start, end) in enumerate(steps):
            assert start == ends[-1]
            assert (packing.time[start:end] == t).all()
            assert packing.caption[start:end].tolist() == captions[: (lengths[captions] > t).sum()].tolist()
            ends.append(end)
    assert ends[-1] == len(packing.time) == lengths.sum()


@settings(deadline=None, max_examples=100)
@given(LENGTHS, PARTS)
def test_parts_have_about_as_many_rows(lengths: np.ndarray, parts: int) -> None:
    words = [int(lengths[pack(lengths, parts).order[place]].sum()) for place in pack(lengths, parts).places]
    assert len(words) == parts
    assert max(words) - min(words) <= lengths.max(initial=0)


@settings(deadline=None, max_examples=100)
@given(LENGTHS, PARTS)
def test_previous_leads_one_step_back_or_to_the_initial_state(lengths: np.ndarray, parts: int) -> None:
    packing = pack(lengths, parts)
    # The rows of the states: the initial ones in packed order, then those of the steps.
    places = [(int(n), -1) for n in packing.order]
    places += zip(packing.caption.tolist(), packing.time.tolist(), strict=True)
    for n, t, previous in zip(packing.caption, packing.time, packing.previous, strict=True):
        assert places[previous] == (n, t - 1)


@settings(deadline=None, max_examples=50)
@given(LENGTHS, st.integers(0, 2), st.integers(1, 3))
def test_unpack_puts_rows_back_and_zeros_elsewhere(lengths: np.ndarray, more: int, width: int) -> None:
    steps = int(lengths.max(initial=0)) + more
    padded = np.random.default_rng(0).standard_normal((len(lengths), steps, width))
    packing = pack(lengths)
    back = packing.unpack(padded[packing.caption, packing.time], steps)
    real = np.arange(steps) < lengths[:, None]
    assert back.shape == padded.shape
    assert (back[real] == padded[real]).all()
    assert (back[~real] == 0).all()
