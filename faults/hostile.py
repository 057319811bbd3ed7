"""Malicious HDF5 content in place of an array: links, external storage, filters, unusual types and shapes.

A change takes a `Target`: an open file, the name of an array in it, a random generator, and the path of a victim file
that must be neither read nor written.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import h5py
import numpy as np


class Target(NamedTuple):
    """The array that a change modifies, and what the change needs."""

    file: h5py.File
    name: str
    rng: np.random.Generator
    victim: str

    @property
    def data(self) -> np.ndarray:
        return np.atleast_1d(self.file[self.name][()])

    def put(self, **options: Any) -> None:
        """Replace the array with a new data set."""
        del self.file[self.name]
        self.file.create_dataset(self.name, **options)

    def link(self, target: Any) -> None:
        """Replace the array with a link."""
        del self.file[self.name]
        self.file[self.name] = target

    def below(self, most: int) -> int:
        return int(self.rng.integers(most))


Change = Callable[[Target], object]


def _virtual(target: Target) -> None:
    data = target.data
    layout = h5py.VirtualLayout(data.shape, data.dtype)
    layout[...] = h5py.VirtualSource(target.victim if target.below(2) else ".", "x", data.shape)
    del target.file[target.name]
    target.file.create_virtual_dataset(target.name, layout)


def _declared(layout: int) -> Change:
    """Declare up to 2⁴⁰ numbers without writing any."""

    def change(target: Target) -> None:
        data = target.data
        shape = tuple(1 << int(target.rng.integers(12, 40 // data.ndim + 1)) for _ in range(data.ndim))
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_layout(layout)
        if layout == h5py.h5d.CHUNKED:
            plan.set_chunk(tuple(min(n, 64) for n in shape))
        plan.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
        parent, _, leaf = target.name.rpartition("/")
        group, kind = target.file[parent or "/"], h5py.h5t.py_create(data.dtype)
        del target.file[target.name]
        h5py.h5d.create(group.id, leaf.encode(), kind, h5py.h5s.create_simple(shape), plan)

    return change


def _filtered(**options: Any) -> Change:
    return lambda target: target.put(data=target.data, chunks=target.data.shape, **options)


def _bomb(target: Target) -> None:
    count = 1 << int(target.rng.integers(18, 24))
    target.put(shape=(count,), dtype="f4", chunks=(count,), compression="gzip")
    target.file[target.name].write_direct(np.zeros(count, "f4"))


def _data(make: Callable[[Target], Any], **options: Any) -> Change:
    return lambda target: target.put(data=make(target), **options)


def _reshaped(target: Target) -> np.ndarray:
    data = target.data
    kinds = (data[..., None], data[None], data.reshape(-1)[:-1], np.concatenate((data, data)), data[:0])
    return kinds[target.below(len(kinds))]


def _not_finite(target: Target) -> np.ndarray:
    data = target.data
    data.flat[target.below(data.size)] = target.rng.choice((np.nan, np.inf, -np.inf))
    return data


def _groups(names: Callable[[Target], list[str]]) -> Change:
    def change(target: Target) -> None:
        del target.file[target.name]
        for name in names(target):
            target.file.create_group(f"{target.name}/{name}")

    return change


ANY: Mapping[str, Change] = {
    "an external link": lambda target: target.link(h5py.ExternalLink(target.victim, "/x")),
    "a link to a device": lambda target: target.link(h5py.ExternalLink("/dev/zero", "/x")),
    "a soft link": lambda target: target.link(h5py.SoftLink("/meta")),
    "a link to itself": lambda target: target.link(h5py.SoftLink(f"/{target.name}")),
    "external storage": lambda target: target.put(
        shape=target.data.shape, dtype=target.data.dtype, external=[(target.victim, 0, target.data.nbytes)]
    ),
    "a virtual data set": _virtual,
    "declared, not written": _declared(h5py.h5d.CONTIGUOUS),
    "declared in chunks": _declared(h5py.h5d.CHUNKED),
    "a bomb of gzip": _bomb,
    "fletcher32": _filtered(fletcher32=True),
    "variable length": _data(lambda target: list(map(str, target.data.ravel()[:9])), dtype=h5py.string_dtype()),
    "references": _data(lambda target: [target.file["/"].ref] * 3, dtype=h5py.ref_dtype),
    "compound": _data(lambda target: np.zeros(target.data.shape, "f4,f4")),
    "complex": _data(lambda target: np.zeros(target.data.shape, complex)),
    "opaque": _data(lambda target: np.zeros(target.data.shape, "V8")),
    "no space": _data(lambda target: h5py.Empty("f4")),
    "another shape": _data(_reshaped),
    "nothing": lambda target: target.file.pop(target.name),
    "deep groups": _groups(lambda target: ["g/" * int(target.rng.integers(3, 3000))]),
    "many groups": _groups(lambda target: [str(i) for i in range(int(target.rng.integers(1, 2000)))]),
    "the root again": lambda target: target.link(target.file["/"]),
    "a named type": lambda target: target.link(np.dtype("f4")),
}
"""Changes to any array."""
FLOATS: Mapping[str, Change] = {
    "not finite": _data(_not_finite),
    "integers": _data(lambda target: np.zeros(target.data.shape, "i4")),
}
"""Changes to float arrays."""
CHECKPOINT_FLOATS: Mapping[str, Change] = {
    **FLOATS,
    "gzip": _filtered(compression="gzip"),
    "half precision": _data(lambda target: target.data.astype("f2")),
    "another precision": _data(lambda target: target.data.astype("f8" if target.data.dtype.itemsize == 4 else "f4")),
    "another byte order": _data(lambda target: target.data.astype(target.data.dtype.newbyteorder())),
}
"""Changes to float arrays of a checkpoint, which allows a single storage layout."""


def older(image: bytes) -> bytes:
    """Convert to the older HDF5 format, which has no metadata checksums."""
    made = io.BytesIO()
    with h5py.File(io.BytesIO(image), "r") as old, h5py.File(made, "w", libver="earliest") as new:
        for name in old:
            old.copy(name, new)
    return made.getvalue()


def names(file: h5py.File) -> list[str]:
    """List the names of all arrays."""
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return sorted(found)


def apply(
    image: bytes, change: Change, rng: np.random.Generator, victim: str, floats: bool = False, libver: str = "latest"
) -> bytes:
    """Apply a change to a random array, or float array, of an HDF5 image."""
    content = io.BytesIO(image)
    with h5py.File(content, "r+", libver=libver) as file:
        fit = [name for name in names(file) if not floats or file[name].dtype.kind == "f"]
        change(Target(file, fit[int(rng.integers(len(fit)))], rng, victim))
    return content.getvalue()
