"""Checkpoints: sealed HDF5 files that hold all that training and decoding need.

Behind the seal stand groups `params`, `slots/<slot>`, and where features are standardised `standardizer`, each with one
contiguous array a name, and `meta`, a text of JSON. There is no pickle, no filter, no link and no code in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from captioner.arrays import Array, Params
from captioner.errors import CheckpointError
from captioner.printable import printable
from captioner.storage.sealed import Seal
from captioner.storage.sealed_arrays import read, write

SEAL = Seal("checkpoint", version=2, maker="`captioner train`", most=8 << 30, error=CheckpointError)


@dataclass(frozen=True)
class Meta:
    """What a checkpoint knows besides arrays: the config as YAML, the vocabulary, where its features come from,
    the digest and probe of its data set and the digest of its training split, the steps done, the best validation so
    far with the number of worse ones since, and what the last bits depend on besides (threads and libraries).
    """

    config: str
    words: list[str]
    feature_dim: int
    encoder: str
    fingerprint: str
    probe: list[float]
    step: int
    best: dict[str, float] | None
    since_best: int
    environment: dict[str, str]
    train_fingerprint: str

    @classmethod
    def from_json(cls, text: str) -> Meta:
        """Raises: ValueError when a field is missing, unknown or of another type."""
        values = json.loads(text)
        kinds: dict[str, Any] = {
            "words": list,
            "probe": list,
            "best": (dict, type(None)),
            "feature_dim": int,
            "step": int,
            "since_best": int,
            "environment": dict,
        }
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict):
            raise ValueError(f"expected the fields {', '.join(sorted(names))}")
        if other := sorted(values.keys() ^ names):
            raise ValueError(f"expected the fields of this version; missing or unknown: {', '.join(other)}")
        for name, value in values.items():
            if not isinstance(value, kinds.get(name, str)) or isinstance(value, bool):
                raise ValueError(f"{name}: unexpected {value!r:.40}")
        meta = cls(**values)
        if not all(isinstance(word, str) for word in meta.words):
            raise ValueError("words: expected texts")
        if not all(isinstance(text, str) and text.isprintable() for text in values["environment"].values()):
            raise ValueError("environment: expected texts")
        if not all(isinstance(x, float) and math.isfinite(x) for x in values["probe"]):
            raise ValueError("probe: expected numbers")
        for name, least in (("feature_dim", 1), ("step", 0), ("since_best", 0)):
            if values[name] < least:
                raise ValueError(f"{name}: expected at least {least}, got {values[name]}")
        if meta.best is not None:
            numbers = [x for x in values["best"].values() if isinstance(x, int | float) and math.isfinite(x)]
            if not meta.best.keys() >= {"step", "epoch", "loss"} or len(numbers) < len(meta.best):
                raise ValueError(f"best: expected the numbers step, epoch, loss, got {meta.best!s:.80}")
        return meta


@dataclass(frozen=True)
class Checkpoint:
    """A model at a step of its training."""

    meta: Meta
    params: Params
    slots: dict[str, Params]
    standardizer: Params

    def groups(self) -> dict[str, Params]:
        return {
            "params": self.params,
            "standardizer": self.standardizer,
            **{f"slots/{slot}": arrays for slot, arrays in self.slots.items()},
        }


def save(path: Path, checkpoint: Checkpoint, check: Callable[[], None] = lambda: None) -> None:
    """Write a checkpoint atomically: the new file is read back and compared before it replaces the old one.

    `check` is called as in `replacing`.

    Raises: CheckpointError with the old file whole.
    """
    arrays = {f"{group}/{name}": array for group, some in checkpoint.groups().items() for name, array in some.items()}
    write(SEAL, path, arrays, asdict(checkpoint.meta), "f", check)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint, verifying the seal before anything else.

    Raises: CheckpointError that names the file, and where it is past the seal the array, expected and got.
    """
    return read(SEAL, path, "f", lambda tree, meta: _parse(tree, meta, path))


def _parse(tree: dict[str, Array], meta: str, path: Path) -> Checkpoint:
    arrays: dict[str, Params] = {}
    for name, array in tree.items():
        group, _, leaf = name.rpartition("/")
        arrays.setdefault(group, {})[leaf] = array
    slots = {name.removeprefix("slots/"): a for name, a in arrays.items() if name.startswith("slots/")}
    known = {"params", "standardizer", *(f"slots/{slot}" for slot in slots)}
    if unknown := sorted((arrays.keys() - known - {""}) | arrays.get("", {}).keys()):
        raise CheckpointError(
            f"{path}: unknown '{printable(unknown[0], 80)}'; expected meta, params, slots and standardizer"
        )
    return Checkpoint(Meta.from_json(meta), arrays.get("params", {}), slots, arrays.get("standardizer", {}))
