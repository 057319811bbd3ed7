"""Small valid files, and ways to damage them: by disks, cables and interrupted copies."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from captioner.config.yaml_io import parse
from captioner.data.corpus import Corpus
from captioner.data.prepared import write_prepared
from captioner.data.scenes import example
from captioner.images.protobuf import model, node, value_info
from captioner.inference.restore import Restored
from captioner.model.image_input import standardizer_arrays
from captioner.preparation.load_corpus import build_corpus
from captioner.storage.checkpoint import Checkpoint
from captioner.training.train import train
from faults.session import SMALL

PHOTOS = 8


def make_run(folder: Path, *overrides: str) -> Path:
    """Train a small run, which contains the checkpoint `last.h5`."""
    for _ in train(parse("", "", [*SMALL, "train.max_steps=3", *overrides]), folder):
        pass
    return folder


def make_prepared(path: Path, seed: int = 0) -> Path:
    """Write a prepared data set of generated images."""
    write_prepared(path, build_corpus(parse("", "", [*SMALL, f"data.scenes.seed={seed}"])), {"sources": []})
    return path


def checkpoint_digest(restored: Restored) -> str:
    """Return a digest of the whole content of a checkpoint."""
    standardizers = standardizer_arrays(restored.model.standardizer, restored.model.region_standardizer)
    groups = Checkpoint(restored.meta, restored.model.params, restored.slots, standardizers)
    return _digest(asdict(restored.meta), groups.groups())


def corpus_digest(corpus: Corpus) -> str:
    """Return a digest of the whole content of a data set."""
    splits: dict[str, dict[str, Any]] = {
        name: {"captions": s.captions, "image_idxs": s.image_idxs, "features": np.asarray(s.features[:])}
        for name, s in corpus.splits.items()
    }
    texts = {name: [*s.image_ids, "|", *(s.texts or ())] for name, s in corpus.splits.items()}
    return _digest([corpus.encoder, corpus.vocab.words, texts], splits)


def _digest(texts: object, groups: dict[str, dict[str, Any]]) -> str:
    digest = hashlib.sha256(repr(texts).encode(errors="surrogateescape"))
    for group in sorted(groups):
        for name in sorted(groups[group]):
            array = groups[group][name]
            digest.update(f"\n{group} {name} {array.dtype} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def make_album(folder: Path) -> Path:
    """Write generated images, a CSV file of captions, and a small ONNX model that computes mean colours."""
    folder.mkdir()
    with open(folder / "captions.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("image", "caption"))
        for index in range(PHOTOS):
            drawn = example(0, "train", index)
            Image.fromarray(drawn.picture).save(folder / f"{index}.png")
            table.writerows((f"{index}.png", " ".join(words)) for words in drawn.captions[:2])
    nodes = (node("GlobalAveragePool", ["x"], "p"), node("Flatten", ["p"], "f"))
    inputs, outputs = [value_info("x", ("N", 3, 16, 16))], [value_info("f", ("N", 3))]
    (folder / "mean.onnx").write_bytes(model(nodes, {}, inputs, outputs, {"mean": "0", "scale": "1"}))
    return folder


BLOCKS = (512, 4096)
Damage = Callable[[bytearray, np.random.Generator, bytes], bytes | bytearray]


def _block(data: bytearray, rng: np.random.Generator) -> slice:
    size = int(rng.choice(BLOCKS))
    start = int(rng.integers(max(1, len(data) // size))) * size
    return slice(start, min(len(data), start + size))


def _flip(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    for _ in range(int(rng.integers(1, 9))):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return data


def _flip_in_the_seal(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    data[int(rng.integers(128))] = int(rng.integers(256))
    return data


def _swap(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    size = int(rng.choice(BLOCKS))
    starts = (int(place) * size for place in rng.integers(max(1, len(data) // size), size=2))
    first, second = (slice(start, start + size) for start in starts)
    data[first], data[second] = data[second], data[first]
    return data


def _splice(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    """Join the head of one file and the tail of another, as two copies to one path do."""
    at = 512 if rng.random() < 0.3 else int(rng.integers(1, len(data)))
    return data[:at] + other[at:]


def _in_a_block(change: Callable[[bytearray, slice, np.random.Generator, bytes], bytes | bytearray]) -> Damage:
    """Replace a block with other bytes."""

    def damage(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
        block = _block(data, rng)
        data[block] = change(data, block, rng, other)
        return data

    return damage


DAMAGES: Mapping[str, Damage] = {
    "bits flipped": _flip,
    "a byte of the seal": _flip_in_the_seal,
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
