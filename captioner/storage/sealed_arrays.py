"""Named arrays and one JSON text in a sealed HDF5 file: written atomically, and read without trusting the file."""

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
from captioner.printable import printable
from captioner.storage.atomic import replacing
from captioner.storage.hdf5_writer import new_file
from captioner.storage.sealed import SIZE, Seal

T = TypeVar("T")
MOST_OBJECTS = 1000
KINDS = {"f": "floats", "fi": "numbers"}
"""The kinds of numbers that a file may hold, and how a message calls them."""


def write(
    seal: Seal,
    path: Path,
    arrays: Mapping[str, Array],
    meta: Mapping[str, Any],
    kinds: str,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Write arrays, by their full names, and `meta` as JSON: the file at `path` is the old one or the new one.

    The new file is read back and compared to the bit before it replaces the old one. `check` is called as in
    `atomic.replacing`; `kinds` is a key of `KINDS`.

    Raises: the seal's error, with the old file whole.
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise seal.error(f"{path}: array {name}: a number is not finite, so it is not saved")
    text = json.dumps(dict(meta), allow_nan=False)
    try:
        with replacing(path, check) as temporary:
            _write(temporary, arrays, text)
            if difference := _check_and_seal(temporary, seal, arrays, text, kinds):
                kept = f"the previous {seal.what} is kept" if path.exists() else f"there is no previous {seal.what}"
                raise seal.error(
                    f"{path}: the new {seal.what} does not read back as saved: {difference}; {kept}; "
                    f"try another version of h5py (this is {h5py.__version__}), or check the disk and the memory"
                )
    except OSError as error:
        whole = "; an earlier one there is whole" if path.exists() else ""
        raise seal.error(f"{path}: cannot write the {seal.what}: {error.strerror or error}{whole}") from error


def read(seal: Seal, path: Path, kinds: str, parse: Callable[[dict[str, Array], str], T]) -> T:
    """What `parse` makes of the arrays and the JSON text of a file, whose seal is verified before anything else.

    `kinds` is a key of `KINDS`.

    Raises: the seal's error, naming the file, and where it is past the seal the array, expected and got.
    """
    return parse_image(seal, path, _unsealed(seal, path), kinds, parse)


def parse_image(seal: Seal, path: Path, image: bytes, kinds: str, parse: Callable[[dict[str, Array], str], T]) -> T:
    """What `parse` makes of the arrays and the JSON text of an HDF5 image.

    Raises: as `read`.
    """
    try:
        with h5py.File(io.BytesIO(image), "r") as file:  # reads the image where it is; `open_file_image` copies it
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
            f"{path}: not readable as a {seal.what}: {type(error).__name__}: {printable(str(error), 80)}"
        ) from error


def _write(path: Path, arrays: Mapping[str, Array], meta: str) -> None:
    """Write the HDF5 image behind an empty seal."""
    # In memory, since a full disk would crash HDF5. Not by the core driver: with libver="latest" and h5py before 3.16,
    # its image before the file is closed is not a whole HDF5 file.
    image = io.BytesIO()
    groups = {parent for name in arrays for parent in (name.partition("/")[0], name.rpartition("/")[0]) if "/" in name}
    with new_file(image, sorted(groups)) as file:
        file.create_dataset("meta", data=np.bytes_(meta.encode()))
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
    with open(path, "wb") as target:
        target.write(bytes(SIZE))
        target.write(image.getbuffer())


def _check_and_seal(path: Path, seal: Seal, arrays: Mapping[str, Array], meta: str, kinds: str) -> str:
    """Seal a new file if it reads back to the bit as it was written, or return the difference.

    The digest is that of the bytes that were read back, so it is computed once.
    """
    with open(path, "r+b", buffering=0) as file:
        file.seek(SIZE)
        image = file.readall()
        if difference := _difference(path, seal, image, arrays, meta, kinds):
            return difference
        digest = hashlib.sha256(image).hexdigest()
        file.seek(0)
        file.write(seal.of(len(image), digest))
    with seal.open(path) as (_, sealed):
        return "" if sealed == digest else "its seal differs"


def _difference(path: Path, seal: Seal, image: bytes, arrays: Mapping[str, Array], meta: str, kinds: str) -> str:
    if len(image) > seal.most:
        return f"expected at most {seal.most:,} bytes, got {len(image):,}"
    try:
        found, text = parse_image(seal, path, image, kinds, lambda tree, text: (tree, text))
    except seal.error as error:
        return str(error).removeprefix(f"{path}: ")
    for name in sorted(arrays.keys() ^ found.keys()):
        return f"array {name}: {'missing' if name in arrays else 'not expected'}"
    for name, array in arrays.items():
        one, other = (f"{a.dtype} {a.shape}" for a in (array, found[name]))
        if one != other:
            return f"array {name}: expected {one}, got {other}"
        if not np.array_equal(_bits(array), _bits(found[name])):
            return f"array {name}: its numbers differ"
    return "" if text == meta else "meta differs"


def _bits(array: Array) -> Array:
    """The numbers as integers of the same size where there are such: unlike floats, they compare to the bit."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat.view(f"u{array.itemsize}" if array.itemsize in (2, 4, 8) else np.uint8)


def _unsealed(seal: Seal, path: Path) -> bytes:
    """The HDF5 image behind the seal, read through one descriptor and checked against its digest."""
    with seal.open(path) as (file, digest):
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
                raise seal.error(f"{path}: {printable(name, 80)}: too many or too deep objects for a {seal.what}")
            if not isinstance(group.get(leaf, getlink=True), h5py.HardLink):
                raise seal.error(f"{path}: {printable(name, 80)}: expected an array in this file, got a link")
            item = group[leaf]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise seal.error(f"{path}: {printable(name, 80)}: the same object stands under two names")
            seen.add(address)
            if isinstance(item, h5py.Group):
                pending.append((f"{name}/", item))
            else:
                found[name] = _array(item, kinds, f"{path}: array {printable(name, 80)}", seal)
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
        raise seal.error(f"{where}: expected a plain array of {KINDS[kinds]}, got {printable(str(item), 80)}")
    array: Array = np.asarray(item[()])
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise seal.error(f"{where}: a number is not finite (NaN or infinity)")
    return array
