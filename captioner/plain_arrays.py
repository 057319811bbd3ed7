"""HDF5 files of plain arrays: made so that equal contents are equal bytes, and read without trusting them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from captioner.arrays import Array
from captioner.errors import CheckpointError
from captioner.printable import printable

MOST_OBJECTS = 1000


def new_file(target: BinaryIO, groups: Iterable[str], userblock: int = 0) -> h5py.File:
    """A new HDF5 file with these groups, parents first.

    Equal contents give equal bytes: h5py before 3.15 would keep the time in every group.
    """
    access, plan = h5py.h5p.create(h5py.h5p.FILE_ACCESS), h5py.h5p.create(h5py.h5p.FILE_CREATE)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_libver_bounds(h5py.h5f.LIBVER_LATEST, h5py.h5f.LIBVER_LATEST)
    access.set_fileobj_driver(h5py.h5fd.fileobj_driver, target)
    plan.set_userblock(userblock)
    plan.set_obj_track_times(False)
    file = h5py.File(h5py.h5f.create(b"new", h5py.h5f.ACC_TRUNC, plan, access))
    plan, link = h5py.h5p.create(h5py.h5p.GROUP_CREATE), h5py.h5p.create(h5py.h5p.LINK_CREATE)
    plan.set_obj_track_times(False)
    link.set_char_encoding(h5py.h5t.CSET_UTF8)
    for name in groups:
        h5py.h5g.create(file.id, name.encode(), None if name.isascii() else link, plan)
    return file


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
