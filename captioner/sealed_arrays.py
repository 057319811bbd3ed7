"""Named arrays and one JSON text in a sealed HDF5 file: written atomically, and read without trusting the file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from captioner.arrays import Array, Params
from captioner.atomic import write_atomically
from captioner.sealed import Seal

T = TypeVar("T")
MOST_OBJECTS = 1000
KINDS = {"f": "floats", "fi": "numbers"}
"""The kinds of numbers that a file may hold, and how a message calls them."""


def write(seal: Seal, path: Path, arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> None:
    """Write arrays, by their full names, and `meta` as JSON: the file at `path` is the old one or the new one.

    Raises: the seal's error, with the old file whole.
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise seal.error(f"{path}: array {name}: a number is not finite, so it is not saved")
    image = _to_image(arrays, meta)
    block = seal.of(len(image), hashlib.sha256(image).hexdigest())
    try:
        write_atomically(path, (block, image))
    except OSError as error:
        whole = "; an earlier one there is whole" if path.exists() else ""
        raise seal.error(f"{path}: cannot write the {seal.what}: {error.strerror or error}{whole}") from error


def read(seal: Seal, path: Path, kinds: str, parse: Callable[[dict[str, Array], str], T]) -> T:
    """What `parse` makes of the arrays and the JSON text of a file, whose seal is verified before anything else.

    `kinds` is a key of `KINDS`.

    Raises: the seal's error, naming the file, and where it is past the seal the array, expected and got.
    """
    image = _unsealed(seal, path)
    try:
        file_id = h5py.h5f.open_file_image(image)
        with h5py.File(file_id) as file:
            tree = _walk(file, kinds, seal, path)
        meta = tree.pop("meta", None)
        if meta is None or meta.dtype.kind != "S":
            got = "nothing" if meta is None else meta.dtype
            raise seal.error(f"{path}: meta: expected a text, got {got}")
        return parse(tree, meta.item().decode())
    except seal.error:
        raise
    except Exception as error:  # h5py lets out nearly every kind
        raise seal.error(
            f"{path}: not readable as a {seal.what}: {type(error).__name__}: {shown(str(error))}"
        ) from error


def _to_image(arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> bytes:
    with h5py.File("image", "w", libver="latest", driver="core", backing_store=False) as file:
        file.create_dataset("meta", data=np.bytes_(json.dumps(dict(meta), allow_nan=False).encode()))
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def _unsealed(seal: Seal, path: Path) -> bytes:
    """The HDF5 image behind the seal, read through one descriptor and checked against its digest."""
    file, digest = seal.open(path)
    with file:
        image = file.read()
    if hashlib.sha256(image).hexdigest() != digest:
        seal.broken(path)
    return image


def _walk(file: h5py.File, kinds: str, seal: Seal, path: Path) -> Params:
    """Every array by its full name, after checks that a hostile but well-sealed file must fail.

    Hard links only, no object twice, a bound on depth and number, plain contiguous arrays of numbers or one text.
    """
    found: Params = {}
    seen: set[object] = set()
    pending: list[tuple[str, h5py.Group]] = [("", file["/"])]
    while pending:
        prefix, group = pending.pop()
        for leaf in group:
            name = f"{prefix}{leaf}"
            if len(seen) > MOST_OBJECTS or name.count("/") > 2:
                raise seal.error(f"{path}: {shown(name)}: too many or too deep objects for a {seal.what}")
            if not isinstance(group.get(leaf, getlink=True), h5py.HardLink):
                raise seal.error(f"{path}: {shown(name)}: expected an array in this file, got a link")
            item = group[leaf]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise seal.error(f"{path}: {shown(name)}: the same object stands under two names")
            seen.add(address)
            if isinstance(item, h5py.Group):
                pending.append((f"{name}/", item))
            else:
                found[name] = _array(item, kinds, f"{path}: array {shown(name)}", seal)
    return found


def _array(item: Any, kinds: str, where: str, seal: Seal) -> Array:
    plain = (
        isinstance(item, h5py.Dataset)
        and item.dtype.kind in kinds + "S"
        and h5py.check_vlen_dtype(item.dtype) is None
        and item.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
        and item.id.get_create_plist().get_external_count() == 0
        and item.id.get_storage_size() == item.size * item.dtype.itemsize
    )
    if not plain:
        raise seal.error(f"{where}: expected a plain array of {KINDS[kinds]}, got {shown(str(item))}")
    array: Array = np.asarray(item[()])
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise seal.error(f"{where}: a number is not finite (NaN or infinity)")
    return array


def shown(text: str) -> str:
    """A name from inside a file as a piece of a message: in one line, and not too long."""
    return (text if text.isprintable() else repr(text)[1:-1])[:80]
