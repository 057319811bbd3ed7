"""What a hostile writer puts in the place of an array: all that HDF5 can do beyond holding numbers.

A change takes an `Aim`: an open file, the name of an array in it, random numbers, and a victim: a file that must be
neither read nor written.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import h5py
import numpy as np


class Aim(NamedTuple):
    """What a change is made to."""

    file: h5py.File
    name: str
    rng: np.random.Generator
    victim: str

    @property
    def data(self) -> np.ndarray:
        return np.atleast_1d(self.file[self.name][()])

    def put(self, **how: Any) -> None:
        """Another data set in its place."""
        del self.file[self.name]
        self.file.create_dataset(self.name, **how)

    def link(self, target: Any) -> None:
        """A link in its place."""
        del self.file[self.name]
        self.file[self.name] = target

    def below(self, most: int) -> int:
        return int(self.rng.integers(most))


Change = Callable[[Aim], object]


def _virtual(aim: Aim) -> None:
    data = aim.data
    layout = h5py.VirtualLayout(data.shape, data.dtype)
    layout[...] = h5py.VirtualSource(aim.victim if aim.below(2) else ".", "x", data.shape)
    del aim.file[aim.name]
    aim.file.create_virtual_dataset(aim.name, layout)


def _declared(layout: int) -> Change:
    """Up to 2⁴⁰ numbers, none of them written."""

    def change(aim: Aim) -> None:
        data = aim.data
        shape = tuple(1 << int(aim.rng.integers(12, 40 // data.ndim + 1)) for _ in range(data.ndim))
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_layout(layout)
        if layout == h5py.h5d.CHUNKED:
            plan.set_chunk(tuple(min(n, 64) for n in shape))
        plan.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
        parent, _, leaf = aim.name.rpartition("/")
        group, kind = aim.file[parent or "/"], h5py.h5t.py_create(data.dtype)
        del aim.file[aim.name]
        h5py.h5d.create(group.id, leaf.encode(), kind, h5py.h5s.create_simple(shape), plan)

    return change


def _filtered(**how: Any) -> Change:
    return lambda aim: aim.put(data=aim.data, chunks=aim.data.shape, **how)


def _bomb(aim: Aim) -> None:
    count = 1 << int(aim.rng.integers(18, 24))
    aim.put(shape=(count,), dtype="f4", chunks=(count,), compression="gzip")
    aim.file[aim.name].write_direct(np.zeros(count, "f4"))


def _of(make: Callable[[Aim], Any], **how: Any) -> Change:
    return lambda aim: aim.put(data=make(aim), **how)


def _reshaped(aim: Aim) -> np.ndarray:
    data = aim.data
    kinds = (data[..., None], data[None], data.reshape(-1)[:-1], np.concatenate((data, data)), data[:0])
    return kinds[aim.below(len(kinds))]


def _not_finite(aim: Aim) -> np.ndarray:
    data = aim.data
    data.flat[aim.below(data.size)] = aim.rng.choice((np.nan, np.inf, -np.inf))
    return data


def _groups(names: Callable[[Aim], list[str]]) -> Change:
    def change(aim: Aim) -> None:
        del aim.file[aim.name]
        for name in names(aim):
            aim.file.create_group(f"{aim.name}/{name}")

    return change


ANY: Mapping[str, Change] = {
    "an external link": lambda aim: aim.link(h5py.ExternalLink(aim.victim, "/x")),
    "a link to a device": lambda aim: aim.link(h5py.ExternalLink("/dev/zero", "/x")),
    "a soft link": lambda aim: aim.link(h5py.SoftLink("/meta")),
    "a link to itself": lambda aim: aim.link(h5py.SoftLink(f"/{aim.name}")),
    "external storage": lambda aim: aim.put(
        shape=aim.data.shape, dtype=aim.data.dtype, external=[(aim.victim, 0, aim.data.nbytes)]
    ),
    "a virtual data set": _virtual,
    "declared, not written": _declared(h5py.h5d.CONTIGUOUS),
    "declared in chunks": _declared(h5py.h5d.CHUNKED),
    "a bomb of gzip": _bomb,
    "fletcher32": _filtered(fletcher32=True),
    "variable length": _of(lambda aim: list(map(str, aim.data.ravel()[:9])), dtype=h5py.string_dtype()),
    "references": _of(lambda aim: [aim.file["/"].ref] * 3, dtype=h5py.ref_dtype),
    "compound": _of(lambda aim: np.zeros(aim.data.shape, "f4,f4")),
    "complex": _of(lambda aim: np.zeros(aim.data.shape, complex)),
    "opaque": _of(lambda aim: np.zeros(aim.data.shape, "V8")),
    "no space": _of(lambda aim: h5py.Empty("f4")),
    "another shape": _of(_reshaped),
    "nothing": lambda aim: aim.file.pop(aim.name),
    "deep groups": _groups(lambda aim: ["g/" * int(aim.rng.integers(3, 3000))]),
    "many groups": _groups(lambda aim: [str(i) for i in range(int(aim.rng.integers(1, 2000)))]),
    "the root again": lambda aim: aim.link(aim.file["/"]),
    "a named type": lambda aim: aim.link(np.dtype("f4")),
}
"""In the place of any array."""
FLOATS: Mapping[str, Change] = {
    "not finite": _of(_not_finite),
    "integers": _of(lambda aim: np.zeros(aim.data.shape, "i4")),
}
"""In the place of floats."""
CHECKPOINT_FLOATS: Mapping[str, Change] = {
    **FLOATS,
    "gzip": _filtered(compression="gzip"),
    "half precision": _of(lambda aim: aim.data.astype("f2")),
    "another precision": _of(lambda aim: aim.data.astype("f8" if aim.data.dtype.itemsize == 4 else "f4")),
    "another byte order": _of(lambda aim: aim.data.astype(aim.data.dtype.newbyteorder())),
}
"""In the place of floats of a checkpoint, which has one way to keep them."""


def older(image: bytes) -> bytes:
    """The same content in HDF5's older format, which has no checksums over its own structure."""
    made = io.BytesIO()
    with h5py.File(io.BytesIO(image), "r") as old, h5py.File(made, "w", libver="earliest") as new:
        for name in old:
            old.copy(name, new)
    return made.getvalue()


def names(file: h5py.File) -> list[str]:
    """Of every array."""
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return sorted(found)


def apply(
    image: bytes, change: Change, rng: np.random.Generator, victim: str, floats: bool = False, libver: str = "latest"
) -> bytes:
    """An HDF5 image after a change to one of its arrays, or of its float arrays alone."""
    content = io.BytesIO(image)
    with h5py.File(content, "r+", libver=libver) as file:
        fit = [name for name in names(file) if not floats or file[name].dtype.kind == "f"]
        change(Aim(file, fit[int(rng.integers(len(fit)))], rng, victim))
    return content.getvalue()
