"""Checkpoints: saved files with everything that training and decoding need.

The arrays are in the groups `params`, `slots/<slot>`, `summary`, the training summary, and, with standardized features,
`standardizer`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from captioner.arrays import Params
from captioner.errors import CheckpointError, printable
from captioner.files.header import MODEL
from captioner.files.saved import open_saved, write

GROUPS = ("params", "standardizer", "summary")
SLOTS = "slots/"
"""The groups of arrays in a checkpoint, and the start of those of the optimizer, one for each slot."""
MAX_TEXT, MAX_NUMBER = 2000, (1 << 63) - 1
"""Maximum characters of a text, and maximum of a number, in metadata."""


def one_line(text: object) -> str:
    """Return a text as one printable line of at most `MAX_TEXT` characters."""
    return printable(" ".join(str(text).split()), MAX_TEXT)


@dataclass(frozen=True)
class Base:
    """A model file that another model was initialized from. Its license and terms apply to that model too."""

    file: str
    license: str
    terms: str


@dataclass(frozen=True)
class Card:
    """What a model states for its users: its license, the terms and the name of its training data, the language of its
    captions, scores (records of `captioner evaluate --json`), and the model files that it was made from, nearest first.

    `captions` are the name and the SHA-256 of the file of `data.captions`, if the model learned captions instead of the
    references. `captioner export` sets the others. The checkpoints of a run have `base` and `captions` alone.
    """

    license: str = ""
    terms: str = ""
    dataset: str = ""
    language: str = ""
    captions: str = ""
    scores: list[dict[str, Any]] = field(default_factory=list)
    base: list[Base] = field(default_factory=list)

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Card:
        """Raises: ValueError or TypeError for a field that is unknown or of another type."""
        base, scores = values.get("base", []), values.get("scores", [])
        if not all(
            isinstance(records, list) and all(isinstance(r, dict) for r in records) for records in (base, scores)
        ):
            raise ValueError("card: base, scores: expected lists of records")
        stated = [{name: text for name, text in values.items() if name not in ("base", "scores")}, *base]
        for text in (text for texts in stated for text in texts.values()):
            if not isinstance(text, str) or one_line(text) != text:
                raise ValueError(
                    f"card: expected texts of one line and at most {MAX_TEXT} characters, got {text!r:.40}"
                )
        return cls(**{**values, "base": [Base(**record) for record in base]})

    def as_base(self, path: Path) -> list[Base]:
        """Return the base of a model that is made from this one, in a file; only exported files have a license."""
        itself = [Base(one_line(path.name), self.license, self.terms)] if self.license else []
        return [*itself, *self.base]


@dataclass(frozen=True)
class Meta:
    """Metadata of a checkpoint: the options by path, the vocabulary, the feature encoder, the digests of the data set,
    of its training split and of the encoded captions that training learned, the step, the best validation, the number
    of validations without improvement since, and the environment (threads and library versions, which affect
    floating-point rounding). With attention, `region_dim` is the width of a region and `grid` the rows and columns of
    an image's regions; without, they are 0 and empty.
    """

    config: dict[str, Any]
    words: list[str]
    feature_dim: int
    encoder: str
    data_digest: str
    train_digest: str
    learned: str
    step: int
    best: dict[str, float] | None
    since_best: int
    environment: dict[str, str]
    region_dim: int = 0
    grid: list[int] = field(default_factory=list)
    card: Card = field(default_factory=Card)

    @classmethod
    def from_json(cls, text: str) -> Meta:
        """Raises: ValueError if a field is missing, unknown or of a wrong type."""
        values = json.loads(text)
        kinds: dict[str, Any] = {
            "config": dict,
            "words": list,
            "grid": list,
            "card": dict,
            "best": (dict, type(None)),
            "feature_dim": int,
            "region_dim": int,
            "step": int,
            "since_best": int,
            "environment": dict,
        }
        names = {column.name for column in fields(cls)}
        if not isinstance(values, dict):
            raise ValueError(f"expected the fields {', '.join(sorted(names))}")
        if other := sorted(values.keys() ^ names):
            raise ValueError(f"expected the fields of this version; missing or unknown: {', '.join(other)}")
        for name, value in values.items():
            if not isinstance(value, kinds.get(name, str)) or isinstance(value, bool):
                raise ValueError(f"{name}: unexpected {value!r:.40}")
        meta = cls(**{**values, "card": Card.parse(values["card"])})
        if not all(isinstance(word, str) for word in meta.words):
            raise ValueError("words: expected strings")
        if not all(isinstance(text, str) and text.isprintable() for text in values["environment"].values()):
            raise ValueError("environment: expected printable strings")
        for name in ("data_digest", "train_digest", "learned"):
            if printable(values[name], MAX_TEXT) != values[name]:
                raise ValueError(f"{name}: expected at most {MAX_TEXT} printable characters, got {values[name]!r:.40}")
        if len(meta.grid) not in (0, 2) or not all(type(n) is int and n > 0 for n in meta.grid):
            raise ValueError(f"grid: expected rows and columns, got {meta.grid!s:.80}")
        for name, minimum in (("feature_dim", 1), ("region_dim", 0), ("step", 0), ("since_best", 0)):
            if not minimum <= getattr(meta, name) <= MAX_NUMBER:
                raise ValueError(f"{name}: expected {minimum} to {MAX_NUMBER:,}, got {getattr(meta, name)}")
        if meta.best is not None:
            numbers = [x for x in values["best"].values() if isinstance(x, int | float) and math.isfinite(x)]
            if not meta.best.keys() >= {"step", "epoch", "loss"} or len(numbers) < len(meta.best):
                raise ValueError(f"best: expected the numbers step, epoch, loss, got {meta.best!s:.80}")
        return meta


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training run after a step."""

    meta: Meta
    params: Params
    slots: dict[str, Params]
    standardizer: Params
    summary: Params = field(default_factory=dict)

    def groups(self) -> dict[str, Params]:
        slots = {f"{SLOTS}{slot}": arrays for slot, arrays in self.slots.items()}
        return {name: getattr(self, name) for name in GROUPS} | slots


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically, after the new file was read back and compared.

    Raises: CheckpointError with the old file unchanged.
    """
    groups = checkpoint.groups()
    arrays = {f"{group}/{name}": array for group in groups for name, array in groups[group].items()}
    # by name: a training that was resumed has its slots in another order
    write(MODEL, path, dict(sorted(arrays.items())), asdict(checkpoint.meta))


def load(path: Path, slots: Collection[str] | None = None) -> Checkpoint:
    """Verify and read a checkpoint with the named `slots`, by default all.

    Raises: CheckpointError that names the file and the array.
    """
    with open_saved(MODEL, path) as saved:
        meta, arrays = Meta.from_json(saved.text), dict[str, Params]()
        for name in saved:
            group, _, leaf = name.rpartition("/")
            if group not in GROUPS and not group.startswith(SLOTS):
                raise CheckpointError(
                    f"{path}: unknown '{printable(name, 80)}'; expected meta, slots, {', '.join(GROUPS)}"
                )
            if group in GROUPS or slots is None or group.removeprefix(SLOTS) in slots:
                arrays.setdefault(group, {})[leaf] = saved.read(name, "fu" if group == "summary" else "f")
    read = {group.removeprefix(SLOTS): of_slot for group, of_slot in arrays.items() if group not in GROUPS}
    params, *others = (arrays.get(group, {}) for group in GROUPS)
    return Checkpoint(meta, params, read, *others)
