"""Checkpoints and prepared data sets that disks, cables or interrupted copies damaged."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from captioner.data.prepared import prepared
from captioner.errors import CaptionerError, CheckpointError, DataError
from captioner.files import checkpoint
from faults.materials import make_prepared, make_run
from faults.session import Outcome, Row, Session


class Kind(NamedTuple):
    """A kind of saved file: how it is read, what it contains, and the error if it is damaged."""

    read: Callable[[Path], Any]
    content: Callable[[Any], str]
    error: type[CaptionerError]


def checkpoint_digest(saved: checkpoint.Checkpoint) -> str:
    """Return a digest of the whole content of a checkpoint."""
    return _digest(asdict(saved.meta), saved.groups())


def data_set_digest(corpus: Any) -> str:
    """Return a digest of the whole content of a data set."""
    arrays = {
        name: {"captions": split.captions, "image_idxs": split.image_idxs, "features": np.asarray(split.features[:])}
        for name, split in corpus.splits.items()
    }
    texts = {name: [*split.image_ids, "|", *(split.texts or ())] for name, split in corpus.splits.items()}
    return _digest([corpus.encoder, corpus.vocab.words, texts], arrays)


def _digest(texts: object, groups: Mapping[str, Mapping[str, Any]]) -> str:
    digest = hashlib.sha256(repr(texts).encode(errors="surrogateescape"))
    for group in sorted(groups):
        for name, array in sorted(groups[group].items()):
            digest.update(f"\n{group} {name} {array.dtype} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


KINDS = {
    "checkpoint": Kind(checkpoint.load, checkpoint_digest, CheckpointError),
    "data set": Kind(prepared, data_set_digest, DataError),
}

BLOCKS = (512, 4096)
Damage = Callable[[bytearray, np.random.Generator, bytes], bytes | bytearray]


def _flip(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    for _ in range(int(rng.integers(1, 9))):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return data


def _change_the_header(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    data[int(rng.integers(128))] = int(rng.integers(256))
    return data


def _swap(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    first, second = _block(data, rng), _block(data, rng)
    data[first], data[second] = data[second], data[first]
    return data


def _splice(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    """Join the head of one file and the tail of another, as two copies to one path do."""
    at = 512 if rng.random() < 0.3 else int(rng.integers(1, len(data)))
    return data[:at] + other[at:]


def _block(data: bytearray, rng: np.random.Generator) -> slice:
    size = int(rng.choice(BLOCKS))
    start = int(rng.integers(max(1, len(data) // size))) * size
    return slice(start, min(len(data), start + size))


def _in_a_block(change: Callable[[bytearray, slice, np.random.Generator, bytes], bytes | bytearray]) -> Damage:
    """Replace a block with other bytes."""

    def damage(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
        block = _block(data, rng)
        data[block] = change(data, block, rng, other)
        return data

    return damage


DAMAGES: Mapping[str, Damage] = {
    "bits flipped": _flip,
    "a byte of the checksum header": _change_the_header,
    "cut short": lambda data, rng, other: data[: int(rng.integers(len(data)))],
    "a block of zeros": _in_a_block(lambda data, block, rng, other: bytes(block.stop - block.start)),
    "a block of noise": _in_a_block(lambda data, block, rng, other: rng.bytes(block.stop - block.start)),
    "two blocks swapped": _swap,
    "a block lost": _in_a_block(lambda data, block, rng, other: b""),
    "a block twice": _in_a_block(lambda data, block, rng, other: data[block] * 2),
    "more at the end": lambda data, rng, other: data + rng.bytes(int(rng.integers(1, 4096))),
    "two files spliced": _splice,
    "a block of another file": _in_a_block(lambda data, block, rng, other: other[block]),
}


def damaged(whole: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """Apply one to three random kinds of damage."""
    kinds = list(DAMAGES.values())
    data = bytearray(whole)
    for _ in range(int(rng.choice((1, 1, 1, 2, 3)))):
        if len(data) < 1024:
            break
        other = others[int(rng.integers(len(others)))]
        data = bytearray(kinds[int(rng.integers(len(kinds)))](data, rng, other))
    return bytes(data)


def classify(
    act: Callable[[], Any], same: Callable[[Any], bool], error_type: type[CaptionerError] = CaptionerError
) -> Outcome:
    """Run `act` and classify the result.

    `refused`: expected error with one line per problem. `harmless`: same content. `silent`: changed content accepted.
    """
    try:
        value = act()
    except error_type as error:
        lines = getattr(error, "problems", (str(error),))
        clean = all(line and line.isprintable() and len(line) < 2000 for line in lines)
        return Outcome("refused") if clean else Outcome("messy", repr(str(error)))
    return Outcome("harmless") if same(value) else Outcome("silent", "taken with another content")


def read_damaged(name: str, whole: Path, others: tuple[Path, ...], expected: str, seed: int, number: int) -> Outcome:
    """Trial k damages a file, reproducibly by (seed, k), and reads it."""
    kind, path = KINDS[name], whole.with_name(f"damaged-{os.getpid()}.h5")
    rng = np.random.default_rng((seed, number))
    path.write_bytes(damaged(whole.read_bytes(), [other.read_bytes() for other in others], rng))
    return classify(lambda: kind.read(path), lambda value: kind.content(value) == expected, kind.error)


def measure(session: Session) -> Iterator[Row]:
    folder = session.folder("damaged")
    runs = [make_run(folder / f"run-{seed}", f"seed={seed}") / "last.h5" for seed in (0, 1)]
    sets = [make_prepared(folder / f"set-{seed}.h5", seed) for seed in (0, 1)]
    for name, count, whole, others in (
        ("checkpoint", 2_000, runs[0], (runs[1], sets[0])),
        ("data set", 1_000, sets[0], (sets[1], runs[0])),
    ):
        expected = KINDS[name].content(KINDS[name].read(whole))
        yield session.run(
            f"{name}s damaged: flipped bits, replaced blocks, truncated, spliced",
            "refused with a one-line error, or the same content",
            partial(read_damaged, name, whole, others, expected, session.seed),
            count,
        )
