"""Named arrays and a JSON text in a sealed HDF5 file, with atomic writing and safe reading."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from captioner.arrays import Array, Params
from captioner.errors import printable
from captioner.storage.atomic import replacing, writing
from captioner.storage.hdf5 import new_file, not_as_written
from captioner.storage.sealed import SIZE, Seal

T = TypeVar("T")
MAX_OBJECTS = 2000
KINDS = {"f": "floats", "fi": "numbers"}
"""The name of the arrays of a file in messages, by `Seal.dtype_kinds`."""


def write(
    seal: Seal,
    path: Path,
    arrays: Mapping[str, Array],
    meta: Mapping[str, Any],
    check: Callable[[], None] = lambda: None,
) -> None:
    """Write arrays, by full name, and `meta` as JSON atomically.

    The new file is read back and compared bit by bit before it replaces the old one. `check` is called as in
    `atomic.replacing`.

    Raises: the seal's error, with the old file unchanged.
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise seal.error(f"{path}: array {name}: not saved, since a number is not finite")
    text = json.dumps(dict(meta), allow_nan=False)
    with writing(path, seal.kind, seal.error), replacing(path, check) as temporary:
        _write(temporary, arrays, text)
        if difference := _check_and_seal(temporary, seal, arrays, text):
            raise not_as_written(path, seal.kind, difference, seal.error)


def read(
    seal: Seal,
    path: Path,
    parse: Callable[[dict[str, Array], str], T],
    wanted: Callable[[str], bool] = lambda name: True,
) -> T:
    """Verify the seal of a file and return `parse(arrays, meta)`, with the wanted arrays only.

    Raises: the seal's error with the file and, after the seal, the array.
    """
    with seal.open(path) as (file, digest):
        payload = file.read()
    if hashlib.sha256(payload).hexdigest() != digest:
        seal.raise_damaged(path)
    return parse_payload(seal, path, payload, parse, wanted)


def parse_payload(
    seal: Seal,
    path: Path,
    payload: bytes,
    parse: Callable[[dict[str, Array], str], T],
    wanted: Callable[[str], bool] = lambda name: True,
) -> T:
    """Return `parse(arrays, meta)` of an HDF5 payload, with the wanted arrays only.

    Raises: as `read`.
    """
    try:
        with h5py.File(io.BytesIO(payload), "r") as file:  # in place; `open_file_image` would copy the payload
            tree = _walk(file, seal, path, wanted)
        meta = tree.pop("meta", None)
        if meta is None or meta.dtype.kind != "S":
            got = "nothing" if meta is None else meta.dtype
            raise seal.error(f"{path}: meta: expected a string, got {got}")
        return parse(tree, meta.item().decode())
    except seal.error:
        raise
    except Exception as error:  # h5py raises nearly every kind
        raise seal.error(
            f"{path}: not readable as a {seal.kind}: {type(error).__name__}: {printable(str(error), 80)}"
        ) from error


def _write(path: Path, arrays: Mapping[str, Array], meta: str) -> None:
    """Write the HDF5 payload after an empty seal."""
    # In memory, since HDF5 may crash on a full disk. Not with the core driver: with libver="latest" and h5py before
    # 3.16, its payload is incomplete until the file is closed.
    payload = io.BytesIO()
    groups = {parent for name in arrays for parent in (name.partition("/")[0], name.rpartition("/")[0]) if "/" in name}
    with new_file(payload, sorted(groups)) as file:
        file.create_dataset("meta", data=np.bytes_(meta.encode()))
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
    with open(path, "wb") as target:
        target.write(bytes(SIZE))
        target.write(payload.getbuffer())


def _check_and_seal(path: Path, seal: Seal, arrays: Mapping[str, Array], meta: str) -> str:
    """Seal a new file if it reads back bit-identical; otherwise return the difference.

    The digest is computed once, from the bytes read back.
    """
    with open(path, "r+b", buffering=0) as file:
        file.seek(SIZE)
        payload = file.readall()
        if difference := _difference(path, seal, payload, arrays, meta):
            return difference
        header = seal.of(len(payload), hashlib.sha256(payload).hexdigest())
        file.seek(0)
        file.write(header)
        file.seek(0)
        return "" if file.read(SIZE) == header else "its seal differs"


def _difference(path: Path, seal: Seal, payload: bytes, arrays: Mapping[str, Array], meta: str) -> str:
    if len(payload) > seal.max_bytes:
        return f"expected at most {seal.max_bytes:,} bytes, got {len(payload):,}"
    try:
        read_back, text = parse_payload(seal, path, payload, lambda tree, text: (tree, text))
    except seal.error as error:
        return str(error).removeprefix(f"{path}: ")
    for name in sorted(arrays.keys() ^ read_back.keys()):
        return f"array {name}: {'missing' if name in arrays else 'not expected'}"
    for name, array in arrays.items():
        expected, got = (f"{a.dtype} {a.shape}" for a in (array, read_back[name]))
        if expected != got:
            return f"array {name}: expected {expected}, got {got}"
        if not np.array_equal(_bits(array), _bits(read_back[name])):
            return f"array {name}: the numbers differ"
    return "" if text == meta else "meta differs"


def _bits(array: Array) -> Array:
    """View numbers as integers of the same size, if available, for a bitwise comparison."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat.view(f"u{array.itemsize}" if array.itemsize in (2, 4, 8) else np.uint8)


def _walk(file: h5py.File, seal: Seal, path: Path, wanted: Callable[[str], bool]) -> Params:
    """Return the wanted arrays by full name, after checks against hostile files with a valid seal.

    Allowed are hard links, each object once, a bounded depth and number of objects, and contiguous arrays of numbers
    or one string.
    """
    arrays: Params = {}
    seen: set[object] = set()
    pending: list[tuple[str, h5py.Group]] = [("", file["/"])]
    while pending:
        prefix, group = pending.pop()
        for leaf in group:
            name = f"{prefix}{leaf}"
            where = f"{path}: {printable(name, 80)}"
            if len(seen) > MAX_OBJECTS or name.count("/") > 2:
                raise seal.error(f"{where}: too many or too deeply nested objects for a {seal.kind}")
            if not isinstance(group.get(leaf, getlink=True), h5py.HardLink):
                raise seal.error(f"{where}: expected an array in this file, got a link")
            item = group[leaf]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise seal.error(f"{where}: the same object has two names")
            seen.add(address)
            if isinstance(item, h5py.Group):
                pending.append((f"{name}/", item))
            elif wanted(name):
                arrays[name] = _array(item, f"{path}: array {printable(name, 80)}", seal)
    return arrays


def _array(item: Any, where: str, seal: Seal) -> Array:
    plain = (
        isinstance(item, h5py.Dataset)
        and item.dtype.kind in seal.dtype_kinds + "S"
        and h5py.check_vlen_dtype(item.dtype) is None
        and item.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
        and item.id.get_create_plist().get_external_count() == 0
        and item.id.get_storage_size() == item.size * item.dtype.itemsize
    )
    if not plain:
        raise seal.error(
            f"{where}: expected a plain array of {KINDS[seal.dtype_kinds]}, got {printable(str(item), 80)}"
        )
    array: Array = np.asarray(item[()])
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise seal.error(f"{where}: a number is not finite (NaN or infinity)")
    return array
