"""`captioner prepare`: captions and photographs -> one prepared data set, as an iterator of events."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import captioner
from captioner.config.options import Prepare
from captioner.data.corpus import Corpus, Split, validate
from captioner.data.features import Selected
from captioner.data.prepared import SEAL, write_prepared
from captioner.data.readers import Issue
from captioner.data.summary import card
from captioner.errors import DataError
from captioner.parallel.blas import set_threads
from captioner.preparation.encode import Discarded, Encoding, Found, Work, encoded, given, sha256_of
from captioner.preparation.find_photos import Unreadable, photo_folder
from captioner.preparation.image_records import Collected, among, collect, named_source, words_of
from captioner.storage.atomic import sweep
from captioner.storage.files import check_output
from captioner.text.vocabulary import SPECIAL, Vocab


class Prepared(NamedTuple):
    """The file is written; its card tells what is in it."""

    path: Path
    card: dict[str, Any]


Event = Issue | Encoding | Unreadable | Discarded | Prepared


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
    check_output(output, overwrite, "a data set", SEAL.is_on)
    collected = collect(sources, lists, options, strict)
    yield from collected.flaws
    set_threads(1)
    images = list(chain(*collected.splits.values()))
    store = output.with_name(f"{output.name}.part")
    work = Work(images, options, encoder_options or {}, photo_folder(sources, options), strict, [])
    found = yield from (given(work, options.features) if options.features else encoded(work, store))
    corpus, counts = _corpus(collected, found, options)
    unreadable = len(images) - len(found.rows) - found.missing
    counts |= {"skipped": len(collected.flaws), "left_out": collected.left_out}
    counts |= {"missing": found.missing, "unreadable": unreadable}
    about = {
        "made_by": f"captioner {captioner.__version__}",
        "sources": [{"file": os.path.basename(path), "sha256": sha256_of(path)} for path in _files(sources)],
        "images": os.path.abspath(work.folder),
        "options": {key: str(v) if isinstance(v, Path) else v for key, v in dataclasses.asdict(options).items()},
        "counts": counts,
    }
    check_output(output, overwrite, "a data set", SEAL.is_on)  # again, as encoding may have taken hours
    if not options.features:
        sweep(output)  # nobody else writes it: the features are locked
    write_prepared(output, validate(corpus, str(output)), about)
    store.unlink(missing_ok=True)
    yield Prepared(output, {**card(corpus), "counts": counts, "lost": [str(one) for one in work.all_lost]})


def _corpus(collected: Collected, found: Found, options: Prepare) -> tuple[Corpus, dict[str, Any]]:
    """The captions of the images that have features, as ids, and what was counted on the way."""
    kept = among(collected, found.rows, options)
    words = {name: [words_of(told) for one in images for told in one.captions] for name, images in kept.items()}
    vocab = Vocab.build(words["train"], options.min_count, options.max_words)
    if len(vocab) == len(SPECIAL):
        raise DataError(
            f"vocabulary: expected words that come {options.min_count:,} times or more in train, got none; "
            "try a smaller --min-count"
        )
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


def card_of(collected: Collected, options: Prepare, without: Container[str] = ()) -> dict[str, Any]:
    """The card of captions alone, without photographs or features, and without those images.

    Raises: DataError when nothing is left to train on.
    """
    images = [one.image for one in chain(*collected.splits.values()) if one.image not in without]
    names = {image: row for row, image in enumerate(images)}
    blank = Found(np.arange(len(names), dtype=np.float32)[:, None], names, "", np.dtype(np.float32), 0)
    corpus, counts = _corpus(collected, blank, options)
    told = card(corpus)
    return {
        "vocabulary": told["vocabulary"],
        "splits": told["splits"],
        "counts": {**counts, "skipped": len(collected.flaws), "left_out": collected.left_out},
    }


def _files(sources: Sequence[str]) -> list[Path]:
    return [named_source(source)[1] for source in sources]
