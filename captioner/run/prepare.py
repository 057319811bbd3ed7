"""`captioner prepare`: captions and photographs -> one prepared data set, as an iterator of events."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain, islice
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import captioner
from captioner.blas import set_threads
from captioner.config import Prepare
from captioner.data.card import card
from captioner.data.corpus import Corpus, Features, Split, validate
from captioner.data.features import Selected, open_features
from captioner.data.prepared import check_names, write_prepared
from captioner.data.readers import Flaw
from captioner.data.splits import Pictured
from captioner.errors import DataError, UsageError
from captioner.run.collect import Collected, collect, named_source, words_of
from captioner.vocab import Vocab

if TYPE_CHECKING:
    from captioner.images.encoder import Encoder

DEFAULT_ENCODER = "efficientnet-lite0"
SUFFIXES = (".jpg", ".jpeg", ".png")
"""Tried when a name in a table has none."""
COMPARED = 16
"""Photographs that are encoded to see whether given features are those of the encoder that they are said to be of."""
TOLERANCE = 1e-2


class Encoding(NamedTuple):
    """`done` of `total` photographs are encoded, `before` of them by an earlier run."""

    done: int
    total: int
    before: int


class Unreadable(NamedTuple):
    """A photograph that is missing or cannot be read; its captions are left out."""

    image: str
    problem: str

    def __str__(self) -> str:
        return self.problem


class Prepared(NamedTuple):
    """The file is written; its card tells what is in it."""

    path: Path
    card: dict[str, Any]


Event = Flaw | Encoding | Unreadable | Prepared


def prepare(
    sources: Sequence[str],
    output: Path,
    options: Prepare | None = None,
    *,
    lists: Sequence[str] = (),
    encoder_options: Mapping[str, str] | None = None,
    strict: bool = False,
    overwrite: bool = False,
) -> Iterator[Event]:
    """Read captions, encode their photographs (or take given features), and write a data set.

    Photographs that were encoded before an interruption are not encoded again: they are kept beside the output until
    it is written.

    Raises: UsageError, DataError; with `strict` also for the first flaw or unreadable photograph.
    """
    options = options or Prepare()
    if output.exists() and not overwrite:
        raise UsageError(f"{output}: exists already; name another file, or replace it with --overwrite")
    if output.is_dir() or output in _files(sources):
        kind = "a folder" if output.is_dir() else "captions to read"
        raise UsageError(f"{output}: expected a file to write, got {kind}; name another file")
    if not output.parent.is_dir():
        raise UsageError(f"{output}: expected a folder to write into, got {output.parent}, which is none")
    collected = collect(sources, lists, options, strict)
    check_names(list(collected.splits), ", ".join(sources))
    yield from collected.flaws
    set_threads(1)
    images = list(chain(*collected.splits.values()))
    store = output.with_name(f"{output.name}.part")
    work = _Work(images, options, encoder_options or {}, photo_folder(sources, options), strict, [])
    found = yield from (_given(work, options.features) if options.features else _encoded(work, store))
    corpus, counts = _corpus(collected, found, options)
    unreadable = len(images) - len(found.rows) - found.missing
    counts |= {"skipped": len(collected.flaws), "left_out": collected.left_out}
    counts |= {"missing": found.missing, "unreadable": unreadable}
    about = {
        "made_by": f"captioner {captioner.__version__}",
        "sources": [{"file": os.path.basename(path), "sha256": _sha256(path)} for path in _files(sources)],
        "images": os.path.abspath(work.folder),
        "options": {key: str(v) if isinstance(v, Path) else v for key, v in dataclasses.asdict(options).items()},
        "counts": counts,
    }
    write_prepared(output, validate(corpus, str(output)), about)
    store.unlink(missing_ok=True)
    yield Prepared(output, {**card(corpus), "counts": counts, "lost": [str(one) for one in work.all_lost]})


class _Work(NamedTuple):
    """What features are wanted for."""

    images: Sequence[Pictured]
    options: Prepare
    encoder_options: Mapping[str, str]
    folder: Path
    strict: bool
    all_lost: list[Unreadable]

    def lost(self, image: str, problem: str) -> Unreadable:
        if self.strict:
            raise DataError(f"{problem}; without --strict it is left out and counted")
        self.all_lost.append(Unreadable(image, problem))
        return self.all_lost[-1]


class _Features(NamedTuple):
    """Features, the row of every image that has one, whose they are, and the number of images not to be found."""

    features: Features
    rows: dict[str, int]
    encoder: str
    dtype: np.dtype[Any]
    missing: int


def _given(work: _Work, path: Path) -> Generator[Event, None, _Features]:
    """The rows of a file that somebody has encoded."""
    features = open_features(path)
    count = features.shape[0]
    rows = {one.image: one.row for one in work.images if one.row < count}
    for one in work.images:
        if one.row >= count:
            yield work.lost(one.image, f"{one.image}: expected a row of {path} below {count:,}, got {one.row:,}")
    if not rows:
        raise DataError(f"{path}: expected a row for each image, got {count:,} rows and none that an image has")
    if len(set(rows.values())) < len(rows):
        row, many = Counter(rows.values()).most_common(1)[0]
        names = ", ".join(name for name in rows if rows[name] == row)
        raise DataError(f"{path}: row {row}: expected one image, got {many} ({names:.80}); prepare each file by itself")
    identity = f"features:{path.name},sha256={_sha256(path)}"
    if work.options.encoder is not None:
        from captioner.images import open_encoder

        encoder = open_encoder(work.options.encoder, work.encoder_options)
        _compare(encoder, features, rows, work.folder, path)
        identity = encoder.identity
    dtype = np.dtype(work.options.dtype)
    return _Features(features, rows, identity, dtype, len(work.images) - len(rows))


def _encoded(work: _Work, store: Path) -> Generator[Event, None, _Features]:
    """Features of the photographs themselves."""
    from captioner.images import open_encoder

    encoder = open_encoder(work.options.encoder or DEFAULT_ENCODER, work.encoder_options)
    from captioner.images.encoding import Store, encode_photos  # both need Pillow, which only the first asks for kindly

    found = {one.image: find_photo(work.folder, one.image) for one in work.images}
    missing = [name for name, path in found.items() if path is None]
    if len(missing) == len(found):
        raise DataError(
            f"{work.folder}: expected the photographs, got none of {len(found):,}, such as {missing[0]}; "
            "name their folder with --images"
        )
    for name in missing:
        yield work.lost(name, f"{work.folder / name}: no such photograph")
    names = [name for name, path in found.items() if path is not None]
    paths = [path for path in found.values() if path is not None]
    dtype = np.dtype(work.options.dtype)
    rows: dict[str, int] = {}
    try:
        with Store(store, encoder.identity, encoder.width, dtype) as kept:
            before = 0
            with closing(encode_photos(encoder, paths, work.options.threads, list(kept.rows))) as encoded:
                for done, (name, one) in enumerate(zip(names, encoded, strict=True), 1):
                    if one.problem is not None:
                        yield work.lost(name, str(one.problem))
                    else:
                        before += one.features is None
                        if one.features is not None and one.digest not in kept.rows:
                            kept.add(one.digest, one.features)
                        rows[name] = kept.rows[one.digest]
                    yield Encoding(done, len(names), before)
            if not rows:
                raise DataError(f"{work.folder}: expected photographs, got none that can be read")
            return _Features(kept.features(), rows, encoder.identity, dtype, len(missing))
    except OSError as error:
        raise DataError(f"{store}: cannot keep what is encoded: {error.strerror or error}") from error


def _corpus(collected: Collected, found: _Features, options: Prepare) -> tuple[Corpus, dict[str, Any]]:
    """The captions of the images that have features, as ids, and what was counted on the way."""
    kept = {name: [one for one in images if one.image in found.rows] for name, images in collected.splits.items()}
    if not kept.get("train"):
        raise DataError("expected images in the split train, got none whose photograph can be read")
    words = {
        name: [words_of(told) for one in images for told in one.captions] for name, images in kept.items() if images
    }
    vocab = Vocab.build(words["train"], options.min_count, options.max_words)
    cut = sum(len(caption) > options.max_length for captions in words.values() for caption in captions)
    splits = {}
    for name, captions in words.items():
        images = kept[name]
        splits[name] = Split(
            captions=vocab.encode([caption[: options.max_length] for caption in captions]),
            image_idxs=np.repeat(np.arange(len(images), dtype=np.int32), [len(one.captions) for one in images]),
            features=Selected(found.features, np.array([found.rows[one.image] for one in images]), found.dtype),
            image_ids=[one.image for one in images],
            texts=[told.text for one in images for told in one.captions],
        )
    different = len({word for caption in words["train"] for word in caption})
    return Corpus(vocab, splits, found.encoder), {"cut": cut, "different": different, "min_count": options.min_count}


def card_of(collected: Collected, options: Prepare) -> dict[str, Any]:
    """The card of captions alone, without photographs or features."""
    names = {one.image: row for row, one in enumerate(chain(*collected.splits.values()))}
    blank = _Features(np.arange(len(names), dtype=np.float32)[:, None], names, "", np.dtype(np.float32), 0)
    corpus, counts = _corpus(collected, blank, options)
    told = card(corpus)
    return {
        "vocabulary": told["vocabulary"],
        "splits": told["splits"],
        "counts": {**counts, "skipped": len(collected.flaws), "left_out": collected.left_out},
    }


def missing_photos(collected: Collected, folder: Path) -> Iterator[Unreadable]:
    """The images whose photographs are not in a folder."""
    for one in chain(*collected.splits.values()):
        if find_photo(folder, one.image) is None:
            yield Unreadable(one.image, f"{folder / one.image}: no such photograph")


def find_photo(folder: Path, name: str) -> Path | None:
    """The photograph of a name that a table has: below the folder, or there without its own folders."""
    for path in (folder / name, folder / PurePath(name).name):
        for suffix in ("", *(SUFFIXES if not path.suffix else ())):
            candidate = f"{path}{suffix}"
            if os.path.exists(candidate) and not os.path.isdir(candidate):  # unlike Path, they take any name
                return Path(candidate)
    return None


def _compare(encoder: Encoder, features: Features, rows: Mapping[str, int], folder: Path, path: Path) -> None:
    """Raises: DataError when features are not those of the encoder, as far as photographs are there to tell."""
    from captioner.images.encoding import encode_photos

    if features.shape[1] != encoder.width:
        raise DataError(
            f"{path}: expected {encoder.width} numbers an image, as {encoder.identity} has, got {features.shape[1]}"
        )
    found = ((find_photo(folder, name), name) for name in rows)
    photos = {photo: name for photo, name in islice((pair for pair in found if pair[0]), COMPARED) if photo}
    for one in encode_photos(encoder, photos):
        if one.features is None:
            continue
        given = features[rows[photos[one.path]]].astype(np.float64)
        apart = float(np.linalg.norm(given - one.features)) / max(float(np.linalg.norm(one.features)), 1e-30)
        if apart > TOLERANCE:
            raise DataError(
                f"{path}: expected the features of {encoder.identity}, got others: those of {one.path.name} are apart "
                f"by {apart:.1%}; name the encoder that made them with --encoder"
            )


def photo_folder(sources: Sequence[str], options: Prepare) -> Path:
    return options.images or _files(sources)[0].parent


def _files(sources: Sequence[str]) -> list[Path]:
    return [named_source(source)[1] for source in sources]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
