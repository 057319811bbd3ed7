"""Workers share captions or hidden units, whichever is clearly faster."""

import numpy as np
import pytest

from captioner.layers import sharding as module
from captioner.layers.block_width import WIDTHS
from captioner.layers.choices import Choices
from captioner.layers.sharding import caption_shards
from captioner.parallel.thread_pool import SERIAL, ThreadPool

FLOAT32 = np.dtype(np.float32)
TWO = ThreadPool(2)


def plant(monkeypatch: pytest.MonkeyPatch, by_captions: float, by_units: float, wait: float = 0.0) -> list[int]:
    """Replace the measurements of products of 512 columns (captions) and of fewer (units); return the measured rows."""
    measured: list[int] = []

    def measure(rows: int, depth: int, columns: int, *rest: object) -> dict[str, float]:
        measured.append(rows)
        return dict.fromkeys(WIDTHS, by_captions if columns == depth else by_units)

    monkeypatch.setattr(module, "CHOICES", Choices())
    monkeypatch.setattr(module, "measure", measure)
    monkeypatch.setattr(module, "_wait_seconds", lambda pool: wait)
    return measured


@pytest.mark.parametrize(
    ("by_captions", "by_units", "wait", "shards"),
    [(1.0, 1.0, 0.0, 2), (1.0, 0.95, 0.0, 2), (1.0, 0.7, 0.0, 1), (1.0, 0.7, 1.5, 2), (1.0, 0.7, 0.5, 1)],
)
def test_hidden_units_are_shared_if_that_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, by_captions: float, by_units: float, wait: float, shards: int
) -> None:
    """A step of four gates takes four products, and one wait."""
    measured = plant(monkeypatch, by_captions, by_units, wait)
    assert caption_shards(50, 4, 512, FLOAT32, TWO) == shards
    assert caption_shards(60, 4, 512, FLOAT32, TWO) == shards
    assert measured == [32, 64]


@pytest.mark.parametrize(
    ("captions", "hidden", "pool"), [(64, 512, SERIAL), (64, 32, TWO), (1, 512, TWO), (256, 512, TWO)]
)
def test_captions_are_shared_without_measurement(
    monkeypatch: pytest.MonkeyPatch, captions: int, hidden: int, pool: ThreadPool
) -> None:
    """One worker, small products, or many rows per worker."""
    measured = plant(monkeypatch, 1.0, 0.1)
    assert caption_shards(captions, 4, hidden, FLOAT32, pool) == pool.size
    assert not measured


def test_the_time_of_a_wait_is_measured() -> None:
    assert 0 < module._wait_seconds(TWO) < 1
