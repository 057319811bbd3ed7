"""The operations of the roofline are those of the products of a training step; caches and kinds of CPUs."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import machine, roofline, shapes
from benchmarks.machine import Cpu
from benchmarks.ours import Ours
from benchmarks.shapes import Shape
from captioner.arrays import Array
from captioner.parallel.thread_pool import ThreadPool

AVX512 = ("avx2", "avx512f")
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


def test_bytes_are_those_of_every_array_once_per_call() -> None:
    parts = {part.name: part for part in roofline.parts(SHAPE, ThreadPool(1))}
    numbers = sum(w.size for w in shapes.parameters(SHAPE).values())
    assert parts["Adam"].bytes == 7 * 4 * numbers, "parameters, both moments: read and written; gradients: read"
    assert parts["norms of gradients and parameters"].bytes == 2 * 4 * numbers
    call, moved = roofline.additions(ThreadPool(2), 3 * 4 * 10)
    call()
    assert moved == 2 * roofline.REPEATS * 3 * 4 * 10


def test_caches_are_read_from_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, texts in enumerate((("1", "Data", "32K"), ("1", "Instruction", "32K"), ("2", "Unified", "1024K"))):
        (tmp_path / f"index{number}").mkdir()
        for name, text in zip(("level", "type", "size"), texts, strict=True):
            (tmp_path / f"index{number}" / name).write_text(f"{text}\n")
    (tmp_path / "index3").mkdir()
    monkeypatch.setattr(machine, "CACHES", tmp_path)
    assert machine.caches() == {"L1": 32 << 10, "L2": 1 << 20}, "a cache of unknown size is left out"


@pytest.mark.parametrize(
    ("kind", "cpu"),
    [
        ("amd-epyc-zen4", Cpu("AuthenticAMD", "AMD EPYC 9B14", 25, 17, AVX512)),
        ("amd-epyc-zen3", Cpu("AuthenticAMD", "AMD EPYC 7B13", 25, 1, ("avx2",))),
        ("amd-epyc-zen5", Cpu("AuthenticAMD", "AMD EPYC", 26, 2, AVX512)),
        ("amd-ryzen-zen2", Cpu("AuthenticAMD", "AMD Ryzen 7 3700X 8-Core Processor", 23, 0x71, ("avx2",))),
        ("intel-xeon-6-143-amx", Cpu("GenuineIntel", "Xeon(R) Platinum @ 2.70GHz", 6, 143, ("amx_tile", *AVX512))),
        ("intel-core-6-154-avx2", Cpu("GenuineIntel", "Intel(R) Core(TM) i7-1260P", 6, 154, ("avx2",))),
        ("apple-m2", Cpu("", "Apple M2", 0, 0, ())),
        ("unknown", Cpu("", "", 0, 0, ())),
    ],
)
def test_the_name_of_a_kind_of_cpu(kind: str, cpu: Cpu) -> None:
    assert machine.kind(cpu) == kind
