"""The operations that the roofline states are those that the products of a training step compute."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from benchmarks import roofline, shapes
from benchmarks.ours import Ours
from benchmarks.shapes import Shape
from captioner.arrays import Array
from captioner.parallel.thread_pool import ThreadPool

SHAPE = Shape("lstm", 5, 40, 12, 8, 384)
"""The hidden size is a multiple of the widths of blocks, so that no product has padding."""


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The floating-point operations of all calls of np.matmul."""
    count: Counter[str] = Counter()
    matmul = np.matmul

    def counting(x: Array, w: Array, *args: Any, **options: Any) -> Array:
        out: Array = matmul(x, w, *args, **options)
        count["flops"] += 2 * out.size * x.shape[-1]
        return out

    monkeypatch.setattr(np, "matmul", counting)
    return count


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("cell", shapes.CELLS)
def test_the_operations_of_each_part_and_of_the_step_are_counted(
    cell: str, threads: int, counted: Counter[str]
) -> None:
    shape = Shape(cell, *(getattr(SHAPE, name) for name in ("captions", "vocab", "feature", "wordvec", "hidden")))
    parts = roofline.parts(shape, ThreadPool(threads))
    for part in parts:
        counted.clear()
        part.call()
        assert counted["flops"] == part.flops, part.name
    step = Ours(shape, shapes.parameters(shape), shapes.batch(shape), threads).step
    counted.clear()
    step()
    assert counted["flops"] == sum(part.flops for part in parts)


def test_the_bytes_of_adam_are_those_of_seven_arrays() -> None:
    parts = {part.name: part for part in roofline.parts(SHAPE, ThreadPool(1))}
    numbers = sum(w.size for w in shapes.parameters(SHAPE).values())
    assert parts["Adam"].bytes == 7 * 4 * numbers, "parameters, both moments: read and written; gradients: read"
    assert parts["norms of gradients and parameters"].bytes == 2 * 4 * numbers


def test_a_bandwidth_counts_every_array_once_per_call() -> None:
    call, moved = roofline.additions(ThreadPool(2), 3 * 4 * 10)
    call()
    assert moved == 2 * roofline.REPEATS * 3 * 4 * 10
