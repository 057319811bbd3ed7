"""Checkpoints: saved files with everything that training and decoding need.

The arrays are in the groups `params`, `slots/<slot>`, `summary`, the training summary, and, with standardized features,
`standardizer`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from captioner.arrays import Params
from captioner.errors import CheckpointError, printable
from captioner.files.atomic import always
from captioner.files.saved import MODEL, open_saved, write

GROUPS = ("params", "standardizer", "summary")
SLOTS = "slots/"
"""The groups of arrays in a checkpoint, and the start of those of the optimizer, one for each slot."""
MAX_TEXT, MAX_NUMBER = 10_000, (1 << 63) - 1
"""Maximum characters of a text, and maximum of a number, in metadata."""
LEARNED = "captions of "
"""The start of the name of a file of learned captions, in `Card.made_from`."""


def one_line(text: object) -> str:
    """Return a text as one printable line of at most `MAX_TEXT` characters."""
    return printable(" ".join(str(text).split()), MAX_TEXT)


@dataclass(frozen=True)
class Card:
    """What a model states for its users: its license, the terms of its training data, the model files and the learned
    captions that it was made from, nearest first, and the scores of captions in the validation of its step, by name.

    `captioner export` sets `license` and `terms`, which the checkpoints of a run do not have.
    """

    license: str = ""
    terms: str = ""
    made_from: str = ""
    scores: dict[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Card:
        """Raises: ValueError for a field that is unknown or of another type."""
        values = {name: value for name, value in values.items() if value}
        scores = values.pop("scores", {})
        if not all(isinstance(text, str) and one_line(text) == text for text in values.values()):
            raise ValueError(f"card: expected texts of one line and at most {MAX_TEXT} characters, got {values!s:.80}")
        if not isinstance(scores, dict) or not all(isinstance(x, float) and math.isfinite(x) for x in scores.values()):
            raise ValueError(f"card: scores: expected numbers, got {scores!s:.80}")
        if unknown := values.keys() - {column.name for column in fields(cls)}:
            raise ValueError(f"card: unknown: {', '.join(sorted(unknown))}")
        return cls(**values, scores=scores)

    def as_origin(self, path: Path) -> str:
        """Return what a model states that is made from this one, in a file; only exported files have a license."""
        itself = f"{path.name} (license: {self.license}; terms: {self.terms or 'not stated'})" if self.license else ""
        return one_line("; ".join(filter(None, (itself, self.made_from))))


@dataclass(frozen=True)
class Meta:
    """Metadata of a checkpoint: the options by path, the vocabulary, the feature encoder, the digests of the data set,
    of its training split and of the encoded captions that training learned, the step, the best validation, the number
    of validations without improvement since, and the environment (threads and library versions, which affect
    floating-point rounding). `photo_side` is the largest shorter side of the photographs of the data set in
    pixels, at most that of the encoder's input; 0 if it is unknown. With attention, `region_dim` is the width of a
    region and `grid` the rows and columns of an image's regions; without, they are 0 and empty.
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
    photo_side: int = 0
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
            "photo_side": int,
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
        if not all(isinstance(text, str) for text in (*meta.words, *meta.environment.values())):
            raise ValueError("words, environment: expected strings")
        if len(meta.grid) not in (0, 2) or not all(type(n) is int and n > 0 for n in meta.grid):
            raise ValueError(f"grid: expected rows and columns, got {meta.grid!s:.80}")
        for name in ("feature_dim", "photo_side", "region_dim", "step", "since_best"):
            if not (minimum := int(name == "feature_dim")) <= getattr(meta, name) <= MAX_NUMBER:
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


def save(path: Path, checkpoint: Checkpoint, may_replace: Callable[[], bool] = always) -> None:
    """Write a checkpoint atomically, as `saved.write`, after the new file was read back and compared.

    Raises: CheckpointError with the old file unchanged.
    """
    groups = checkpoint.groups()
    arrays = {f"{group}/{name}": array for group in groups for name, array in groups[group].items()}
    # by name: a training that was resumed has its slots in another order
    write(MODEL, path, dict(sorted(arrays.items())), asdict(checkpoint.meta), may_replace)


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
