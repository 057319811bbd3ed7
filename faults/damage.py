"""Byte-level file corruption, as caused by disks, cables and interrupted copies."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

BLOCKS = (512, 4096)
Damage = Callable[[bytearray, np.random.Generator, bytes], bytes | bytearray]


def _flip(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    for _ in range(int(rng.integers(1, 9))):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return data


def _flip_in_the_seal(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    data[int(rng.integers(128))] = int(rng.integers(256))
    return data


def _cut(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    return data[: int(rng.integers(len(data)))]


def _block(data: bytearray, rng: np.random.Generator) -> tuple[int, int]:
    size = int(rng.choice(BLOCKS))
    start = int(rng.integers(max(1, len(data) // size))) * size
    return start, min(len(data), start + size)


def _zero(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    start, end = _block(data, rng)
    data[start:end] = bytes(end - start)
    return data


def _noise(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    start, end = _block(data, rng)
    data[start:end] = rng.bytes(end - start)
    return data


def _swap(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    size = int(rng.choice(BLOCKS))
    one, two = (int(place) * size for place in rng.integers(max(1, len(data) // size), size=2))
    data[one : one + size], data[two : two + size] = data[two : two + size], data[one : one + size]
    return data


def _lose(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    start, end = _block(data, rng)
    del data[start:end]
    return data


def _repeat(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    start, end = _block(data, rng)
    data[start:start] = data[start:end]
    return data


def _append(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    return data + rng.bytes(int(rng.integers(1, 4096)))


def _splice(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    """Join the head of one file and the tail of another, as two copies to one path do."""
    at = 512 if rng.random() < 0.3 else int(rng.integers(1, len(data)))
    return data[:at] + other[at:]


def _other_block(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    start, end = _block(data, rng)
    data[start:end] = other[start:end]
    return data


DAMAGES: Mapping[str, Damage] = {
    "bits flipped": _flip,
    "a byte of the seal": _flip_in_the_seal,
    "cut short": _cut,
    "a block of zeros": _zero,
    "a block of noise": _noise,
    "two blocks swapped": _swap,
    "a block lost": _lose,
    "a block twice": _repeat,
    "more at the end": _append,
    "two files spliced": _splice,
    "a block of another file": _other_block,
}


def damaged(whole: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """Apply one to three random kinds of damage."""
    names = list(DAMAGES)
    data = bytearray(whole)
    for _ in range(int(rng.choice((1, 1, 1, 2, 3)))):
        if len(data) < 1024:
            break
        other = others[int(rng.integers(len(others)))]
        data = bytearray(DAMAGES[names[int(rng.integers(len(names)))]](data, rng, other))
    return bytes(data)


def mutated(whole: bytes, rng: np.random.Generator) -> bytes:
    """Apply random damage (30 %), or change a few bytes, mostly near the start, where HDF5 keeps its structure."""
    if rng.random() < 0.3:
        return damaged(whole, [whole[::-1]], rng)
    data = bytearray(whole)
    for _ in range(int(rng.integers(1, 6))):
        near = rng.random() < 0.8
        at = int(rng.integers(min(len(data), 8192) if near else len(data)))
        data[at] = int(rng.choice((0, 1, 127, 128, 255, int(rng.integers(256)))))
    return bytes(data)
