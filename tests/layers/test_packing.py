"""Packed rows: each real step once, time after time, and nothing else."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.layers.packing import pack

LENGTHS = st.lists(st.integers(0, 6), max_size=7).map(lambda lengths: np.array(lengths, int))


@settings(deadline=None, max_examples=100)
@given(LENGTHS)
def test_the_rows_are_the_real_steps(lengths: np.ndarray) -> None:
    packing = pack(lengths)
    places = list(zip(packing.caption.tolist(), packing.time.tolist(), strict=True))
    assert len(places) == lengths.sum()
    assert set(places) == {(n, t) for n, length in enumerate(lengths) for t in range(length)}
    assert packing.time.tolist() == sorted(packing.time.tolist())


@settings(deadline=None, max_examples=100)
@given(LENGTHS)
def test_the_longest_comes_first_and_equals_keep_their_order(lengths: np.ndarray) -> None:
    assert pack(lengths).order.tolist() == sorted(range(len(lengths)), key=lambda n: (-lengths[n], n))


@settings(deadline=None, max_examples=100)
@given(LENGTHS)
def test_a_step_holds_its_live_captions_in_the_first_places(lengths: np.ndarray) -> None:
    packing = pack(lengths)
    steps = list(packing.steps())
    assert len(steps) == lengths.max(initial=0)
    for t, (start, end) in enumerate(steps):
        assert (packing.time[start:end] == t).all()
        assert packing.caption[start:end].tolist() == packing.order[: (lengths > t).sum()].tolist()
    assert packing.starts[-1] == lengths.sum()


@settings(deadline=None, max_examples=100)
@given(LENGTHS)
def test_previous_leads_one_step_back_or_to_the_initial_state(lengths: np.ndarray) -> None:
    packing = pack(lengths)
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
