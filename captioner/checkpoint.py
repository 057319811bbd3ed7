"""Checkpoints: sealed HDF5 files that hold all that training and decoding need.

Behind the seal stand groups `params`, `slots/<slot>`, and where features are standardised `standardizer`, each with one
contiguous array a name, and `meta`, a text of JSON. There is no pickle, no filter, no link and no code in it.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from captioner.arrays import Array, Params
from captioner.atomic import write_atomically
from captioner.errors import CheckpointError
from captioner.printable import printable
from captioner.sealed import Seal

SEAL = Seal("checkpoint", version=1, maker="`captioner train`", most=8 << 30, error=CheckpointError)
MOST_OBJECTS = 1000


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


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically: the file at `path` is the old one or the new one.

    Raises: CheckpointError with the old file whole.
    """
    for group, arrays in checkpoint.groups().items():
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise CheckpointError(f"{path}: array {group}/{name}: a number is not finite, so it is not saved")
    image = _to_image(checkpoint)
    seal = SEAL.of(len(image), hashlib.sha256(image).hexdigest())
    try:
        write_atomically(path, (seal, image))
    except OSError as error:
        whole = "; an earlier one there is whole" if path.exists() else ""
        raise CheckpointError(f"{path}: cannot write the checkpoint: {error.strerror or error}{whole}") from error


def load(path: Path) -> Checkpoint:
    """Read a checkpoint, verifying the seal before anything else.

    Raises: CheckpointError that names the file, and where it is past the seal the array, expected and got.
    """
    image = _unsealed(path)
    try:
        file_id = h5py.h5f.open_file_image(image)
        with h5py.File(file_id) as file:
            return _from_file(file, path)
    except CheckpointError:
        raise
    except Exception as error:  # h5py lets out nearly every kind
        raise CheckpointError(
            f"{path}: not readable as a checkpoint: {type(error).__name__}: {printable(str(error), 80)}"
        ) from error


def _to_image(checkpoint: Checkpoint) -> bytes:
    meta = np.bytes_(json.dumps(asdict(checkpoint.meta), allow_nan=False).encode())
    with h5py.File("checkpoint", "w", libver="latest", driver="core", backing_store=False) as file:
        file.create_dataset("meta", data=meta)
        for group, arrays in checkpoint.groups().items():
            for name, array in arrays.items():
                file.create_dataset(f"{group}/{name}", data=array)
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def _unsealed(path: Path) -> bytes:
    """The HDF5 image behind the seal, read through one descriptor and checked against its digest."""
    with SEAL.open(path) as (file, digest):
        image = file.read()
    if hashlib.sha256(image).hexdigest() != digest:
        SEAL.broken(path)
    return image


def _from_file(file: h5py.File, path: Path) -> Checkpoint:
    tree = _walk(file, path)
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


def _walk(file: h5py.File, path: Path) -> dict[str, Array]:
    """Every array by its full name, after checks that a hostile but well-sealed file must fail.

    Hard links only, no object twice, a bound on depth and number, plain contiguous arrays of floats or one text.
    """
    found: dict[str, Array] = {}
    seen: set[object] = set()
    pending: list[tuple[str, h5py.Group]] = [("", file["/"])]
    while pending:
        prefix, group = pending.pop()
        for leaf in group:
            name = f"{prefix}{leaf}"
            if len(seen) > MOST_OBJECTS or name.count("/") > 2:
                raise CheckpointError(f"{path}: {printable(name, 80)}: too many or too deep objects for a checkpoint")
            if not isinstance(group.get(leaf, getlink=True), h5py.HardLink):
                raise CheckpointError(f"{path}: {printable(name, 80)}: expected an array in this file, got a link")
            item = group[leaf]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise CheckpointError(f"{path}: {printable(name, 80)}: the same object stands under two names")
            seen.add(address)
            if isinstance(item, h5py.Group):
                pending.append((f"{name}/", item))
            else:
                found[name] = _array(item, name, path)
    return found


def _array(item: Any, name: str, path: Path) -> Array:
    plain = (
        isinstance(item, h5py.Dataset)
        and item.dtype.kind in "fS"
        and h5py.check_vlen_dtype(item.dtype) is None
        and item.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
        and item.id.get_create_plist().get_external_count() == 0
        and item.id.get_storage_size() == item.size * item.dtype.itemsize
    )
    if not plain:
        raise CheckpointError(
            f"{path}: array {printable(name, 80)}: expected a plain array of floats, got {printable(str(item), 80)}"
        )
    array: Array = np.asarray(item[()])
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise CheckpointError(f"{path}: array {printable(name, 80)}: a number is not finite (NaN or infinity)")
    return array
