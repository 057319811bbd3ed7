"""Prepared data sets: a `Corpus` in one saved file, written by `captioner prepare`.

    meta                 JSON: encoder, splits, `about`, `photo_side`, `regions`: true if there are any, and `digests`:
                         the SHA-256 of SPLIT/features and SPLIT/regions
    vocabulary  (V,)     words by id
    SPLIT/features       (M, F) float16 or float32
    SPLIT/regions        (M, rows, columns, R), as features; optional
    SPLIT/images         (M,)   names
    SPLIT/captions       (K, T) int32: <START> w1 .. wn <END> <NULL> ...
    SPLIT/image_idxs     (K,)   int32: the row of features that a caption describes
    SPLIT/texts          (K,)   raw captions
    SPLIT/sources        (M,)   the source of each image; absent unless a split has several

Texts are fixed-length UTF-8, padded with NULs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioner.arrays import Array, Rows
from captioner.data.corpus import Corpus, Split, validate
from captioner.data.features import MEMORY_MIB, memory_of, read_if_small
from captioner.data.vocabulary import Vocab
from captioner.errors import DataError
from captioner.files.atomic import always
from captioner.files.saved import DATA_SET, Saved, open_saved, write

TEXT_LIMIT = 1 << 31
MAX_SPLITS, MAX_SIDE = 64, 1 << 20
RESERVED = ("meta", "vocabulary", ".")


def prepared(root: str | os.PathLike[str] | None, *, memory_mib: int = MEMORY_MIB, regions: bool = False) -> Corpus:
    """Load a prepared data set, with `regions` if it has any; what exceeds `memory_mib` in total is read on demand.

    Raises: DataError when `captioner prepare` did not write the file, or it is damaged.
    """
    path, splits = Path(root or "."), dict[str, Split]()
    with open_saved(DATA_SET, path) as saved:
        meta = _check_meta(saved.meta, path)
        vocab = Vocab.read(_texts(saved, "vocabulary"), path)
        for name in meta["splits"]:
            splits[name] = split = _read_split(saved, name, memory_mib, regions and meta.get("regions", False))
            memory_mib = max(0, memory_mib - memory_of(split.features, split.regions))
    return validate(Corpus(vocab, splits, meta["encoder"], meta["about"], meta["photo_side"]), str(path))


def _check_meta(meta: dict[str, Any], path: Path) -> dict[str, Any]:
    match meta:
        case {"encoder": str(), "splits": [*splits], "about": dict(), "photo_side": int(n), "digests": dict(sums)} if (
            0 <= n <= MAX_SIDE
            and n is not True
            and isinstance(meta.get("regions", False), bool)
            and {*map(type, sums.values())} <= {str}
        ):
            check_names(splits, f"{path}: meta")
            return meta
        case _:
            raise DataError(f"{path}: meta: expected encoder, splits, about, photo_side and digests, got {meta!r:.80}")


def _read_split(saved: Saved, name: str, memory_mib: int, regions: bool) -> Split:
    features = read_if_small(saved.rows(f"{name}/features", "f", ndim=2), memory_mib)
    left = max(0, memory_mib - memory_of(features))
    return Split(
        captions=_integers(saved, f"{name}/captions", ndim=2),
        image_idxs=_integers(saved, f"{name}/image_idxs", ndim=1),
        features=features,
        image_ids=_texts(saved, f"{name}/images"),
        texts=_texts(saved, f"{name}/texts"),
        sources=_texts(saved, f"{name}/sources") if f"{name}/sources" in saved else None,
        regions=read_if_small(saved.rows(f"{name}/regions", "f", ndim=4), left) if regions else None,
        digests={part: saved.meta["digests"].get(f"{name}/{part}", "") for part in DATA_SET.digests},
    )


def _integers(saved: Saved, name: str, ndim: int) -> Array:
    values = saved.read(name, "iu", ndim)
    if values.dtype != np.int32:  # a cast from a wider type could overflow silently
        raise DataError(f"{saved.path}: array {name}: expected int32, got {values.dtype}")
    return values


def _texts(saved: Saved, name: str) -> list[str]:
    return [text.decode("utf-8", "surrogateescape") for text in saved.read(name, "S", ndim=1).tolist()]


def write_prepared(
    path: Path, corpus: Corpus, about: Mapping[str, Any], may_replace: Callable[[], bool] = always
) -> None:
    """Write a data set atomically, as `saved.write`: on failure, the previous file at `path` is unchanged.

    Raises: DataError when it cannot be written.
    """
    check_names(list(corpus.splits), str(path))
    arrays: dict[str, Rows] = {"vocabulary": np.array(check_texts(corpus.vocab.words, f"{path}: vocabulary"))}
    for name, split in corpus.splits.items():
        texts = split.texts or [" ".join(corpus.vocab.decode(row.tolist())) for row in split.captions]
        arrays[f"{name}/captions"] = np.asarray(split.captions, np.int32)
        arrays[f"{name}/image_idxs"] = np.asarray(split.image_idxs, np.int32)
        arrays[f"{name}/images"] = np.array(check_texts(split.image_ids, f"{path}: {name} images"))
        arrays[f"{name}/texts"] = np.array(check_texts(texts, f"{path}: {name} texts"))
        if split.sources is not None:
            arrays[f"{name}/sources"] = np.array(check_texts(split.sources, f"{path}: {name} sources"))
        arrays[f"{name}/features"] = split.features
        if split.regions is not None:
            arrays[f"{name}/regions"] = split.regions
    meta: dict[str, Any] = {"encoder": corpus.encoder, "splits": list(corpus.splits), "about": dict(about)}
    meta |= {"photo_side": corpus.photo_side} | ({"regions": True} if corpus.grid else {})
    write(DATA_SET, path, arrays, meta, may_replace)


def check_names(splits: Sequence[Any], where: str) -> None:
    """Validate split names. Raises: DataError for names that a prepared data set cannot store."""
    if not 0 < len(splits) <= MAX_SPLITS:
        raise DataError(f"{where}: expected 1 to {MAX_SPLITS} splits, got {len(splits):,}; check the split column")
    for name in splits:
        if not isinstance(name, str) or not name.isprintable() or "/" in name or name in ("", *RESERVED):
            raise DataError(f"{where}: expected a split name such as train, got {name!r:.60}; rename it")
    if len(set(splits)) < len(splits):
        raise DataError(f"{where}: expected distinct split names, got {', '.join(splits):.80}")


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
