"""Plain arrays of an HDF5 file that is not trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from captioner.arrays import Array
from captioner.errors import CheckpointError

MOST_OBJECTS = 1000


def read_arrays(file: h5py.File, path: Path) -> dict[str, Array]:
    """Every array by its full name, after checks that a hostile but well-sealed file must fail.

    Hard links only, no object twice, a bound on depth and number, plain contiguous arrays of floats or one text.

    Raises: CheckpointError that names the array; whatever h5py raises over a malformed file.
    """
    found: dict[str, Array] = {}
    seen: set[object] = set()
    pending: list[tuple[str, h5py.Group]] = [("", file["/"])]
    while pending:
        prefix, group = pending.pop()
        for leaf in group:
            name = f"{prefix}{leaf}"
            if len(seen) > MOST_OBJECTS or name.count("/") > 2:
                raise CheckpointError(f"{path}: {shown(name)}: too many or too deep objects for a checkpoint")
            if not isinstance(group.get(leaf, getlink=True), h5py.HardLink):
                raise CheckpointError(f"{path}: {shown(name)}: expected an array in this file, got a link")
            item = group[leaf]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise CheckpointError(f"{path}: {shown(name)}: the same object stands under two names")
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
        raise CheckpointError(f"{path}: array {shown(name)}: expected a plain array of floats, got {shown(str(item))}")
    array: Array = np.asarray(item[()])
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise CheckpointError(f"{path}: array {shown(name)}: a number is not finite (NaN or infinity)")
    return array


def shown(text: str) -> str:
    """A name from inside a file as a piece of a message: in one line, and not too long."""
    return (text if text.isprintable() else repr(text)[1:-1])[:80]
