"""Reproducible HDF5 files: equal contents give equal bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

import h5py


def new_file(target: BinaryIO, groups: Iterable[str], userblock: int = 0) -> h5py.File:
    """Create an HDF5 file with these groups, parents first, and without timestamps (h5py before 3.15 stores them)."""
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
