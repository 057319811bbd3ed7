"""Prepare a data set from caption files and photographs."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import captioner
from captioner.config.options import Prepare
from captioner.data.caption_readers import Issue
from captioner.data.corpus import Corpus, Split, validate
from captioner.data.features import SelectedFeatures
from captioner.data.prepared import write_prepared
from captioner.data.summary import summarize
from captioner.data.vocabulary import SPECIAL, Vocab
from captioner.errors import DataError
from captioner.files.atomic import remove_temporary_files
from captioner.files.saved import DATA_SET
from captioner.files.user_files import check_output, sha256_of
from captioner.parallel.machine import set_blas_threads
from captioner.preparation.encode import EncodingJob, EncodingProgress, ImageFeatures, encode_images, read_features
from captioner.preparation.image_folders import parse_source
from captioner.preparation.image_records import SplitRecords, caption_words, read_records, usable_splits


class Prepared(NamedTuple):
    """The data set was written; `summary` describes it."""

    path: Path
    summary: dict[str, Any]


Event = Issue | EncodingProgress | DataError | Prepared


def prepare(
    sources: Sequence[str],
    output: Path,
    options: Prepare | None = None,
    *,
    lists: Sequence[str] = (),
    overwrite: bool = False,
) -> Iterator[Event]:
    """Read captions, encode photographs (or read a feature file), write a data set, and yield events.

    Raises: UsageError, DataError.
    """
    options = options or Prepare()
    set_blas_threads(1)
    remove_temporary_files(output)
    check_output(output, overwrite, "a data set", DATA_SET.matches, options.features)
    records = read_records(sources, lists, options)
    yield from records.issues
    images = records.unsplit or records.images
    job = EncodingJob(images, options, records.folders, [])
    features = yield from read_features(job, output) if options.features else encode_images(job, output)
    corpus, counts = assemble_corpus(records, features, options)
    unreadable = len(images) - len(features.rows) - features.missing
    counts |= {"missing": features.missing, "unreadable": unreadable}
    folders = [Path(os.path.abspath(folder.path)).as_posix() for folder in records.folders]
    files = [parse_source(source)[1] for source in sources]
    about = {
        "made_by": f"captioner {captioner.__version__}",
        "sources": [{"file": os.path.basename(path), "sha256": sha256_of(path)} for path in files],
        "images": folders[0] if len(folders) == 1 else folders,
        "options": {k: list(map(os.fspath, v)) if isinstance(v, tuple) else v for k, v in vars(options).items()},
        "counts": counts,
    }
    check_output(output, overwrite, "a data set", DATA_SET.matches)  # again: encoding may take hours
    write_prepared(output, validate(corpus, str(output)), about)
    summary = {**summarize(corpus), "counts": counts, "problems": [str(problem) for problem in job.problems]}
    yield Prepared(output, summary)


def summarize_records(records: SplitRecords, options: Prepare, without: Container[str] = ()) -> dict[str, Any]:
    """Summarize captions without features; the images in `without` are left out.

    Raises: DataError when train is empty.
    """
    images = [record.image for record in records.images if record.image not in without]
    names = {image: row for row, image in enumerate(images)}
    blank = ImageFeatures(np.arange(len(names), dtype=np.float32)[:, None], names, "")
    corpus, counts = assemble_corpus(records, blank, options)
    summary = summarize(corpus)
    return {"vocabulary": summary["vocabulary"], "splits": summary["splits"], "counts": counts}


def assemble_corpus(records: SplitRecords, features: ImageFeatures, options: Prepare) -> tuple[Corpus, dict[str, Any]]:
    """Build the corpus of the images with features, and count its words, and truncated, skipped and omitted captions.

    Raises: DataError when train is empty, or has no word that is frequent enough.
    """
    usable = usable_splits(records, features.rows, options)
    words = {record.image: list(map(caption_words, record.captions)) for record in chain(*usable.values())}
    train = [caption for record in usable["train"] for caption in words[record.image]]
    vocab = Vocab.build(train, options.min_count, options.max_words)
    if len(vocab) == len(SPECIAL):
        raise DataError(
            f"vocabulary: expected words that occur at least {options.min_count:,} times in train, got none; "
            "try a smaller --min-count"
        )
    splits, truncated = {}, 0
    several = any(len({record.source for record in images}) > 1 for images in usable.values())
    for name, images in usable.items():
        captions = [caption for record in images for caption in words[record.image]]
        truncated += sum(len(caption) > options.max_length for caption in captions)
        rows = np.array([features.rows[record.image] for record in images])
        regions = None if features.regions is None else SelectedFeatures(features.regions, rows)
        splits[name] = Split(
            captions=vocab.encode([caption[: options.max_length] for caption in captions]),
            image_idxs=np.repeat(np.arange(len(images), dtype=np.int32), [len(record.captions) for record in images]),
            features=SelectedFeatures(features.features, rows),
            image_ids=[record.image for record in images],
            texts=[caption.text for record in images for caption in record.captions],
            regions=regions,
            sources=[record.source for record in images] if several else None,
        )
    return Corpus(vocab, splits, features.encoder), {
        "truncated": truncated,
        "distinct_words": len({word for caption in train for word in caption}),
        "min_count": options.min_count,
        "skipped": len(records.issues),
        "omitted": records.omitted,
        **({} if options.max_words is None else {"max_words": options.max_words}),
    }
