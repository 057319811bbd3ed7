"""Checkpoints: sealed HDF5 files that hold all that training and decoding need.

Behind the seal stand groups `params`, `slots/<slot>`, and where features are standardised `standardizer`, each with one
contiguous array a name, and `meta`, a text of JSON. There is no pickle, no filter, no link and no code in it.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from captioner.arrays import Array, Params
from captioner.atomic import replacing
from captioner.errors import CheckpointError
from captioner.plain_arrays import new_file, read_arrays
from captioner.printable import printable
from captioner.sealed import Seal

SEAL = Seal("checkpoint", version=1, maker="`captioner train`", most=8 << 30, error=CheckpointError)


@dataclass(frozen=True)
class Meta:
    """What a checkpoint knows besides arrays: the config as YAML, the vocabulary, where its features come from,
    the digest and probe of its data set, the steps done, the best validation so far with the number of worse ones
    since, and what the last bits depend on besides (threads and libraries).
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
    surroundings: dict[str, str] = field(default_factory=dict)

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
            "surroundings": dict,
        }
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict):
            raise ValueError(f"expected the fields {', '.join(sorted(names))}")
        values.setdefault("surroundings", {})  # which the first checkpoints did not keep
        if other := sorted(values.keys() ^ names):
            raise ValueError(f"expected the fields of this version; missing or unknown: {', '.join(other)}")
        for name, value in values.items():
            if not isinstance(value, kinds.get(name, str)) or isinstance(value, bool):
                raise ValueError(f"{name}: unexpected {value!r:.40}")
        meta = cls(**values)
        if not all(isinstance(word, str) for word in meta.words):
            raise ValueError("words: expected texts")
        if not all(isinstance(text, str) and text.isprintable() for text in values["surroundings"].values()):
            raise ValueError("surroundings: expected texts")
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
    for name, array in _by_name(checkpoint).items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise CheckpointError(f"{path}: array {name}: a number is not finite, so it is not saved")
    try:
        with replacing(path, check) as temporary:
            _write(temporary, checkpoint)
            difference = _difference(temporary, checkpoint)
            if difference:
                kept = "the previous checkpoint is kept" if path.exists() else "there is no previous checkpoint"
                raise CheckpointError(
                    f"{path}: the new checkpoint does not read back as saved: {difference}; {kept}; "
                    f"try another version of h5py (this is {h5py.__version__}), or check the disk and the memory"
                )
    except OSError as error:
        whole = "; an earlier one there is whole" if path.exists() else ""
        raise CheckpointError(f"{path}: cannot write the checkpoint: {error.strerror or error}{whole}") from error


def load(path: Path) -> Checkpoint:
    """Read a checkpoint, verifying the seal before anything else.

    Raises: CheckpointError that names the file, and where it is past the seal the array, expected and got.
    """
    image = _unsealed(path)
    try:
        with h5py.File(io.BytesIO(image), "r") as file:  # reads the image where it is; `open_file_image` copies it
            return _from_file(file, path)
    except CheckpointError:
        raise
    except Exception as error:  # h5py lets out nearly every kind
        raise CheckpointError(
            f"{path}: not readable as a checkpoint: {type(error).__name__}: {printable(str(error), 80)}"
        ) from error


def _write(path: Path, checkpoint: Checkpoint) -> None:
    # In memory, since a full disk would crash HDF5. Not by the core driver: with libver="latest" and h5py before 3.16,
    # its image before the file is closed is not a whole HDF5 file.
    image = io.BytesIO()
    arrays = _by_name(checkpoint)
    groups = {parent for name in arrays for parent in (name.partition("/")[0], name.rpartition("/")[0])}
    with new_file(image, sorted(groups)) as file:
        file.create_dataset("meta", data=np.bytes_(json.dumps(asdict(checkpoint.meta), allow_nan=False).encode()))
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
    content = image.getbuffer()
    with open(path, "wb") as target:
        target.write(SEAL.of(len(content), hashlib.sha256(content).hexdigest()))
        target.write(content)


def _difference(path: Path, checkpoint: Checkpoint) -> str:
    """What a file holds otherwise than a checkpoint, to the bit; "" where nothing differs."""
    try:
        found = load(path)
    except CheckpointError as error:
        return str(error).removeprefix(f"{path}: ")
    expected, got = _by_name(checkpoint), _by_name(found)
    for name in sorted(expected.keys() ^ got.keys()):
        return f"array {name}: {'missing' if name in expected else 'not expected'}"
    for name, array in expected.items():
        one, other = (f"{a.dtype} {a.shape}" for a in (array, got[name]))
        if one != other:
            return f"array {name}: expected {one}, got {other}"
        if not np.array_equal(_bits(array), _bits(got[name])):
            return f"array {name}: its numbers differ"
    return "" if found.meta == checkpoint.meta else "meta differs"


def _bits(array: Array) -> Array:
    """The numbers as integers of the same size where there are such: unlike floats, they compare to the bit."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat.view(f"u{array.itemsize}" if array.itemsize in (2, 4, 8) else np.uint8)


def _by_name(checkpoint: Checkpoint) -> Params:
    """Every array by its name in the file."""
    return {f"{group}/{name}": a for group, arrays in checkpoint.groups().items() for name, a in arrays.items()}


def _unsealed(path: Path) -> bytes:
    """The HDF5 image behind the seal, read through one descriptor and checked against its digest."""
    with SEAL.open(path) as (file, digest):
        image = file.read()
    if hashlib.sha256(image).hexdigest() != digest:
        SEAL.broken(path)
    return image


def _from_file(file: h5py.File, path: Path) -> Checkpoint:
    tree = read_arrays(file, path)
    arrays: dict[str, Params] = {}
    for name, array in tree.items():
        group, _, leaf = name.rpartition("/")
        arrays.setdefault(group, {})[leaf] = array
    meta = arrays.get("", {}).get("meta")
    if meta is None or meta.dtype.kind != "S":
        raise CheckpointError(f"{path}: meta: expected a text, got {'nothing' if meta is None else meta.dtype}")
    slots = {name.removeprefix("slots/"): a for name, a in arrays.items() if name.startswith("slots/")}
    known = {"params", "standardizer", *(f"slots/{slot}" for slot in slots)}
    if unknown := sorted((arrays.keys() - known - {""}) | (arrays[""].keys() - {"meta"})):
        raise CheckpointError(
            f"{path}: unknown '{printable(unknown[0], 80)}'; expected meta, params, slots and standardizer"
        )
    return Checkpoint(
        Meta.from_json(meta.item().decode()), arrays.get("params", {}), slots, arrays.get("standardizer", {})
    )
