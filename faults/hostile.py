"""Malicious HDF5 content in place of an array: links, external storage, filters, unusual types, inconsistent content.

A change takes a `Target`: an open file, the name of an array in it, a random generator, and the path of a victim file
that must be neither read nor written.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping
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


def older(payload: bytes) -> bytes:
    """Convert to the older HDF5 format, which has no metadata checksums."""
    made = io.BytesIO()
    with h5py.File(io.BytesIO(payload), "r") as old, h5py.File(made, "w", libver="earliest") as new:
        for name in old:
            old.copy(name, new)
    return made.getvalue()


def names(file: h5py.File) -> list[str]:
    """List the names of all arrays."""
    arrays: list[str] = []
    file.visititems(lambda name, item: arrays.append(name) if isinstance(item, h5py.Dataset) else None)
    return sorted(arrays)


def apply(
    payload: bytes, change: Change, rng: np.random.Generator, victim: str, floats: bool = False, libver: str = "latest"
) -> bytes:
    """Apply a change to a random array, or float array, of an HDF5 payload."""
    content = io.BytesIO(payload)
    with h5py.File(content, "r+", libver=libver) as file:
        fit = [name for name in names(file) if not floats or file[name].dtype.kind == "f"]
        change(Target(file, fit[int(rng.integers(len(fit)))], rng, victim))
    return content.getvalue()


Content = dict[str, Any]


def _text(change: Callable[[Content, Target], bytes]) -> Change:
    """Replace the text of `meta`."""

    def changed(target: Target) -> None:
        content = json.loads(target.file["meta"][()])
        target._replace(name="meta").put(data=np.bytes_(change(content, target)))

    return changed


def _meta(change: Callable[[Content, Target], object]) -> Change:
    """Change the JSON content of `meta`."""

    def changed(content: Content, target: Target) -> bytes:
        change(content, target)
        return json.dumps(content).encode()

    return _text(changed)


def _set(**values: Any) -> Change:
    return _meta(lambda content, target: content.update(values))


def _words(change: Callable[[list[Any], Target], object]) -> Change:
    return _meta(lambda content, target: change(content["words"], target))


def _config(old: str, new: str) -> Change:
    return _meta(lambda content, target: content.update(config=content["config"].replace(old, new)))


def _field(content: Iterable[str], target: Target) -> str:
    known = sorted(content)
    return known[target.below(len(known))]


JUNK: tuple[Any, ...] = (True, -1, 1.5, [], {}, 10**30, [[]], float("nan"), [None], {"a": 1}, ["\0"])
LATER = {"content"}
"""A field that checkpoints of earlier versions do not have."""
META: Mapping[str, Change] = {
    "meta: junk in a field": _meta(
        lambda content, target: content.update({_field(content, target): [JUNK[target.below(len(JUNK))], {}, 7]})
    ),
    "meta: a field less": _meta(lambda content, target: content.pop(_field(content.keys() - LATER, target))),
    "meta: deep JSON": _text(lambda content, target: b"[" * int(target.rng.integers(2000, 60_000))),
    "meta: cut JSON": _text(lambda content, target: json.dumps(content).encode()[: 1 + target.below(60)]),
    "meta: not UTF-8": _text(lambda content, target: json.dumps(content).encode().replace(b'": ', b'\xff": ', 1)),
    "meta: another type": _text(lambda content, target: (b"[]", b"null", b"7", b'"x"', b"{}", b"NaN")[target.below(6)]),
}
CHECKPOINT: Mapping[str, Change] = {
    **META,
    "meta: one field more": _set(more=1),
    "meta: a huge number": _text(
        lambda content, target: json.dumps(content).encode().replace(b'"step": ', b'"step": ' + b"9" * 5000)
    ),
    "words: one less": _words(lambda words, target: words.pop(target.below(len(words)))),
    "words: one more": _words(lambda words, target: words.append("zebra")),
    "words: one twice": _words(lambda words, target: words.__setitem__(-1, words[target.below(len(words) - 1)])),
    "words: a control character": _words(lambda words, target: words.__setitem__(target.below(len(words)), "\x1b[2J")),
    "words: a line end": _words(lambda words, target: words.__setitem__(target.below(len(words)), "a\nb")),
    "words: not a text": _words(lambda words, target: words.__setitem__(target.below(len(words)), 7)),
    "config: another width": _config("hidden_dim: 16", "hidden_dim: 17"),
    "config: a vast width": _config("hidden_dim: 16", "hidden_dim: 9000000000000"),
    "config: a vast data set": _config("train: 40", "train: 9000000000000"),
    "config: another cell": _config("decoder: lstm", "decoder: rnn"),
    "config: another precision": _config("dtype: float32", "dtype: float64"),
    "config: an unknown option": _config("seed: ", "sead: "),
    "config: an alias": _config("seed: 0", "seed: &a 0"),
    "config: a tag": _config("seed: 0", "seed: !!python/object/apply:os.system ['true']"),
    "config: not a number": _config("learning_rate: 0.001", "learning_rate: .nan"),
    "features: another width": _set(feature_dim=7),
    "features: a vast width": _set(feature_dim=1 << 60),
}
