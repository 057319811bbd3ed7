"""Block widths: equal results for all, and choices by measurement that noise does not change."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.layers import block_width as module
from captioner.layers.autotune import Choices, fastest
from captioner.layers.block_width import DEFAULT, WIDTHS, block_width, measure
from captioner.layers.blocked_matmul import BlockedMatrix
from captioner.layers.tuned_matrix import TunedMatrix
from captioner.parallel.thread_pool import SERIAL

FLOAT32 = np.dtype(np.float32)
SHAPE = 4, 512, 512


@pytest.fixture(autouse=True)
def _no_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHOICES", Choices())


def plant(monkeypatch: pytest.MonkeyPatch, **times: float) -> list[tuple[object, ...]]:
    """Replace the measurement, and return the list of its calls; the default takes 1 s."""
    calls: list[tuple[object, ...]] = []

    def measured(*arguments: object) -> dict[str, float]:
        calls.append(arguments)
        return {name: times.get(name.replace(" ", "_"), 1.0) for name in WIDTHS}

    monkeypatch.setattr(module, "measure", measured)
    return calls


@settings(deadline=None, max_examples=30)
@given(
    rows=st.integers(1, 70),
    depth=st.integers(1, 200),
    columns=st.integers(1, 200),
    width=st.sampled_from([*WIDTHS.values()]),
)
def test_all_widths_agree_in_float32(rows: int, depth: int, columns: int, width: int | None) -> None:
    rng = np.random.default_rng(0)
    W, x = rng.standard_normal((2, depth, columns), np.float32), rng.standard_normal((rows, depth), np.float32)
    product = BlockedMatrix(W, SERIAL, width).product(x)
    np.testing.assert_allclose(product, x @ W, rtol=1e-5, atol=1e-5 * depth**0.5)


def test_a_clearly_faster_width_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = plant(monkeypatch, one_call=0.7, blocks_of_32_columns=0.8)
    assert block_width(64, SHAPE, FLOAT32) is None
    assert block_width(60, SHAPE, FLOAT32) is None  # the same class of shapes
    assert calls == [(64, 512, 512, FLOAT32)]
    assert set(module.CHOICES.made().values()) == {"one call"}


def test_a_slightly_faster_width_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, one_call=0.92, blocks_of_32_columns=0.95)
    assert block_width(64, SHAPE, FLOAT32) == WIDTHS[DEFAULT]


@pytest.mark.parametrize(("rows", "shape"), [(1, SHAPE), (22, SHAPE), (128, (4, 32, 32))])
def test_small_products_are_not_measured(
    monkeypatch: pytest.MonkeyPatch, rows: int, shape: tuple[int, int, int]
) -> None:
    calls = plant(monkeypatch, one_call=0.1)
    assert block_width(rows, shape, FLOAT32) == WIDTHS[DEFAULT]
    assert not calls
    assert not module.CHOICES.made()


def test_rows_and_types_are_measured_separately(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = plant(monkeypatch)
    block_width(32, SHAPE, FLOAT32)
    block_width(300, SHAPE, FLOAT32)
    block_width(32, SHAPE, np.dtype(np.float64))
    block_width(32, (1, 512, 10_000), FLOAT32)  # as many columns as measured at most: no new class
    assert len(calls) == len(module.CHOICES.made()) == 3


def test_choices_of_an_earlier_process_are_used_without_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, one_call=0.5)
    block_width(64, SHAPE, FLOAT32)
    earlier = module.CHOICES.made()
    monkeypatch.setattr(module, "CHOICES", Choices())
    calls = plant(monkeypatch)
    module.CHOICES.restore(earlier)
    assert block_width(64, SHAPE, FLOAT32) is None
    assert not calls


def test_an_unknown_choice_of_a_checkpoint_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = plant(monkeypatch)
    module.CHOICES.restore({"64 x 512 by 512 x 512, float32": "blocks of 7 columns"})
    assert block_width(64, SHAPE, FLOAT32) == WIDTHS[DEFAULT]
    assert not calls


def test_the_fastest_product_is_found_by_real_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """A width that computes every product fifty times must lose."""
    original = BlockedMatrix.product

    def slow(self: BlockedMatrix, x: np.ndarray, worker: int = 0) -> np.ndarray:
        for _ in range(50 if self._blocks.shape[3] == WIDTHS[DEFAULT] else 1):
            out = original(self, x, worker)
        return out

    monkeypatch.setattr(BlockedMatrix, "product", slow)
    times = measure(32, 64, 256, FLOAT32)
    assert times.keys() == WIDTHS.keys()
    assert fastest(times, DEFAULT) != DEFAULT


def test_a_tuned_matrix_computes_products_for_any_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, one_call=0.5)
    rng = np.random.default_rng(0)
    W = rng.standard_normal((2, 130, 300))
    tuned, copy = TunedMatrix(W), W.copy()
    W[...] = 0
    monkeypatch.setattr(module, "MIN_PRODUCT", 0)
    for rows in (1, 200, 40, 3, 64):
        x = rng.standard_normal((rows, 130))
        np.testing.assert_allclose(tuned.product(x), x @ copy, rtol=1e-10, atol=1e-10)
    assert set(module.CHOICES.made().values()) == {"one call"}
