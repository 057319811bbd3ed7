"""Prepared data sets: a `Corpus` in one sealed HDF5 file, written by `captioner prepare`.

    meta                 JSON: encoder, splits, `about`, `regions`: true if there are any, and `digests`: the SHA-256 of
                         SPLIT/features and SPLIT/regions
    vocabulary  (V,)     words by id
    SPLIT/features       (M, F) float16 or float32, contiguous
    SPLIT/regions        (M, rows, columns, R), as features; optional
    SPLIT/images         (M,)   names
    SPLIT/captions       (K, T) int32: <START> w1 .. wn <END> <NULL> ...
    SPLIT/image_idxs     (K,)   int32: the row of features that a caption describes
    SPLIT/texts          (K,)   raw captions

Texts are fixed-length UTF-8, padded with NULs. The file has no filters, links, attributes or references.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from captioner.arrays import Array
from captioner.data.corpus import Corpus, Features, Split, blocks, validate
from captioner.data.features import MEMORY_MIB, memory_of, open_features
from captioner.data.vocabulary import Vocab
from captioner.errors import DataError
from captioner.storage.atomic import replacing, writing
from captioner.storage.hdf5 import FILE_LIMIT, CheckedDataset, DeferredErrorFile, new_file, not_as_written, open_dataset
from captioner.storage.sealed import SIZE, Seal, digest_of

DATA_SET_SEAL = Seal("data set", version=1, writer="`captioner prepare`", max_bytes=FILE_LIMIT - SIZE, error=DataError)
TEXT_LIMIT = 1 << 31
MAX_SPLITS = 64
RESERVED = ("meta", "vocabulary", ".")
ROWS = ("features", "regions")


class _Verified(NamedTuple):
    """A file whose seal was verified; the open descriptor keeps another file from replacing it."""

    path: Path
    descriptor: int


def prepared(root: str | os.PathLike[str] | None, *, memory_mib: int = MEMORY_MIB, regions: bool = False) -> Corpus:
    """Load a prepared data set, with `regions` if it has any; what exceeds `memory_mib` in total is read on demand.

    Raises: DataError when `captioner prepare` did not write the file, or it is damaged.
    """
    path, splits = Path(root or "."), dict[str, Split]()
    with _verified(path) as file:
        meta = _meta(file)
        vocab = Vocab.read(_texts(file, "vocabulary"), path)
        for name in meta["splits"]:
            split = _read_split(file, name, memory_mib, regions and meta.get("regions", False))
            digests = {part: meta["digests"].get(f"{name}/{part}", "") for part in ROWS}
            splits[name] = dataclasses.replace(split, digests=digests)
            memory_mib = max(0, memory_mib - memory_of(split.features, split.regions))
    return validate(Corpus(vocab, splits, meta["encoder"], meta["about"]), str(path))


@contextmanager
def _verified(path: Path) -> Iterator[_Verified]:
    with DATA_SET_SEAL.open(path) as (file, digest):
        if digest_of(file) != digest:
            DATA_SET_SEAL.raise_damaged(path)
        yield _Verified(path, file.fileno())


def _meta(file: _Verified) -> dict[str, Any]:
    path = file.path
    (text,) = _texts(file, "meta", ndim=0)
    try:
        meta = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: meta: invalid JSON: {error}") from error
    match meta:
        case {"encoder": str(), "splits": [*splits], "about": dict()} if meta.get("regions", False) in (False, True):
            check_names(splits, f"{path}: meta")
            digests = meta.get("digests")
            if not isinstance(digests, dict) or not all(isinstance(digest, str) for digest in digests.values()):
                raise DataError(f"{path}: meta: expected digests as texts, got {digests!r:.80}")
            return dict(meta)
        case _:
            raise DataError(f"{path}: meta: expected encoder, splits and about, got {text!r:.80}")


def write_prepared(path: Path, corpus: Corpus, about: Mapping[str, Any]) -> None:
    """Write a data set atomically: on failure, the previous file at `path` is unchanged.

    Raises: DataError when it cannot be written.
    """
    check_names(list(corpus.splits), str(path))
    meta: dict[str, Any] = {"encoder": corpus.encoder, "splits": list(corpus.splits), "about": dict(about)}
    meta |= {"regions": True} if corpus.grid else {}
    with writing(path, "data set", DataError), replacing(path) as temporary:
        if difference := _write_and_verify(temporary, path, corpus, meta):
            raise not_as_written(path, "data set", difference, DataError)


def _write_and_verify(temporary: Path, path: Path, corpus: Corpus, meta: Mapping[str, Any]) -> str:
    """Write and seal a file, read it back, and return the first difference, or "" if there is none."""
    with DeferredErrorFile(temporary) as target:
        with new_file(target, corpus.splits, userblock=SIZE) as file:
            writer = VerifyingWriter(file)
            writer.add("vocabulary", np.array(check_texts(corpus.vocab.words, f"{path}: vocabulary")))
            for name, split in corpus.splits.items():
                _write_split(writer, name, split, corpus.vocab, f"{path}: {name}")
            digests = {name: digest for name, digest in writer.digests().items() if name.endswith(ROWS)}
            writer.add("meta", np.array(json.dumps({**meta, "digests": digests}, allow_nan=False).encode()))
        _seal(target)
    try:
        with _verified(temporary) as verified:
            return writer.difference(*verified)
    except DataError as error:
        return str(error).removeprefix(f"{temporary}: ")


def check_names(splits: Sequence[Any], where: str) -> None:
    """Validate split names. Raises: DataError for names that a prepared data set cannot store."""
    if not 0 < len(splits) <= MAX_SPLITS:
        raise DataError(f"{where}: expected 1 to {MAX_SPLITS} splits, got {len(splits):,}; check the split column")
    for name in splits:
        if not isinstance(name, str) or not name.isprintable() or "/" in name or name in ("", *RESERVED):
            raise DataError(f"{where}: expected a split name such as train, got {name!r:.60}; rename it")
    if len(set(splits)) < len(splits):
        raise DataError(f"{where}: expected distinct split names, got {', '.join(splits):.80}")


def _write_split(writer: VerifyingWriter, name: str, split: Split, vocab: Vocab, where: str) -> None:
    writer.add(f"{name}/captions", np.asarray(split.captions, np.int32))
    writer.add(f"{name}/image_idxs", np.asarray(split.image_idxs, np.int32))
    writer.add(f"{name}/images", np.array(check_texts(split.image_ids, f"{where} images")))
    texts = split.texts or [" ".join(vocab.decode(row.tolist())) for row in split.captions]
    writer.add(f"{name}/texts", np.array(check_texts(texts, f"{where} texts")))
    writer.add_rows(f"{name}/features", split.features)
    if split.regions is not None:
        writer.add_rows(f"{name}/regions", split.regions)


def _seal(file: io.FileIO) -> None:
    length = file.seek(0, os.SEEK_END) - SIZE
    file.seek(SIZE)
    seal = DATA_SET_SEAL.of(length, digest_of(file))
    file.seek(0)
    file.write(seal)


def _read_split(file: _Verified, name: str, memory_mib: int, regions: bool) -> Split:
    features: Features = open_features(file.path, f"{name}/features", memory_mib, file.descriptor)
    left = max(0, memory_mib - memory_of(features))
    return Split(
        captions=_integers(file, f"{name}/captions", ndim=2),
        image_idxs=_integers(file, f"{name}/image_idxs", ndim=1),
        features=features,
        image_ids=_texts(file, f"{name}/images"),
        texts=_texts(file, f"{name}/texts"),
        regions=open_features(file.path, f"{name}/regions", left, file.descriptor, ndim=4) if regions else None,
    )


def _integers(file: _Verified, name: str, ndim: int) -> Array:
    values = _read_limited(file, name, "iu", ndim)
    if values.dtype != np.int32:  # a cast from a wider type could overflow silently
        raise DataError(f"{file.path}: dataset {name!r}: expected int32, got {values.dtype}")
    return values


def _texts(file: _Verified, name: str, ndim: int = 1) -> list[str]:
    values = np.atleast_1d(_read_limited(file, name, "S", ndim))
    return [text.decode("utf-8", "surrogateescape") for text in values.tolist()]


def _read_limited(file: _Verified, name: str, numbers: str, ndim: int) -> Array:
    stored = open_dataset(file.path, name, numbers=numbers, ndim=ndim, descriptor=file.descriptor)
    if stored.values.nbytes > TEXT_LIMIT:
        raise DataError(f"{stored.where}: expected at most {TEXT_LIMIT} bytes, got {stored.values.nbytes}")
    return stored[()]


def check_texts(texts: Sequence[str], where: str) -> list[bytes]:
    """Encode texts as UTF-8. Raises: DataError when they exceed the size limit, each padded to the longest."""
    encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
    longest = max(encoded, key=len)
    if len(encoded) * len(longest) > TEXT_LIMIT:
        raise DataError(
            f"{where}: expected at most {TEXT_LIMIT} bytes, got {len(encoded) * len(longest)}, since each is padded "
            f"to the longest; shorten {longest!r:.60}"
        )
    return encoded


KINDS = {"f": "f", "i": "iu", "u": "iu", "S": "S"}
BLOCK = 1 << 24


class VerifyingWriter:
    """Writer of arrays into an open HDF5 file that keeps the dtype, shape and SHA-256 of each array in memory."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._arrays: dict[str, tuple[np.dtype[Any], tuple[int, ...], str]] = {}

    def add(self, name: str, array: Array) -> None:
        """Write an array."""
        self._file[name] = array
        self._arrays[name] = array.dtype, array.shape, _digest([array])

    def add_rows(self, name: str, features: Features) -> None:
        """Write features or regions by blocks of rows.

        Shapes: (M, ...).
        """
        dtype = features.dtype.newbyteorder("=")
        stored = self._file.create_dataset(name, features.shape, dtype)

        def written() -> Iterator[Array]:
            for first, rows in blocks(features):
                block = np.asarray(rows, dtype)
                stored[first : first + len(block)] = block
                yield block

        self._arrays[name] = dtype, stored.shape, _digest(written())

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of each array."""
        return {name: digest for name, (_, _, digest) in self._arrays.items()}

    def difference(self, path: Path, descriptor: int) -> str:
        """Read back the file at `descriptor`; return its first difference from the written arrays, or "" if none."""
        for name, (dtype, shape, digest) in self._arrays.items():
            try:
                stored = open_dataset(path, name, numbers=KINDS[dtype.kind], ndim=len(shape), descriptor=descriptor)
                expected, got = f"{dtype} {shape}", f"{stored.dtype} {stored.values.shape}"
                if expected != got:
                    return f"dataset {name!r}: expected {expected}, got {got}"
                if _digest(_blocks(stored)) != digest:
                    return f"dataset {name!r}: content differs"
            except DataError as error:
                return str(error).removeprefix(f"{path}: ")
        return ""


def _blocks(stored: CheckedDataset) -> Iterator[Array]:
    if not stored.values.shape:
        yield stored[()]
        return
    rows = max(1, BLOCK * len(stored.values) // max(1, stored.values.nbytes))
    for first in range(0, len(stored.values), rows):
        yield stored[first : first + rows]


def _digest(blocks: Iterable[Array]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()
