"""Prepare a data set from caption files and photographs."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import captioner
from captioner.config.options import ENCODER, FEW_IMAGES, MIN_COUNT, Prepare
from captioner.data.caption_readers import Issue
from captioner.data.corpus import Corpus, Split, validate
from captioner.data.features import MAX_ROUNDING_ERROR, SelectedFeatures, rounding_error
from captioner.data.prepared import write_prepared
from captioner.data.summary import summarize
from captioner.data.vocabulary import SPECIAL, Vocab
from captioner.errors import DataError
from captioner.files.saved import DATA_SET
from captioner.files.user_files import check_output, sha256_of
from captioner.parallel.machine import set_blas_threads
from captioner.photos.encode import EncodingJob, EncodingProgress, ImageFeatures, encode_images, read_features
from captioner.photos.recipes import parse_recipe
from captioner.preparation.image_folders import parse_source
from captioner.preparation.image_records import SplitRecords, caption_words, read_records
from captioner.preparation.splits import group_by_split, split_remaining


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
    may_replace = check_output(output, overwrite, "a data set", DATA_SET.matches, options.features)
    parse_recipe(options.encoder or ENCODER)  # before what takes long, or fails for another reason
    records = read_records(sources, lists, options)
    yield from records.issues
    job = EncodingJob(records.images, options, records.folders, [])
    features = yield from read_features(job, output) if options.features else encode_images(job, output)
    corpus, counts = assemble_corpus(records, features, options)
    unreadable = len(records.images) - len(features.rows) - features.missing
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
    write_prepared(output, validate(corpus, str(output)), about, may_replace)
    summary = {**summarize(corpus), "counts": counts, "problems": [str(problem) for problem in job.problems]}
    yield Prepared(output, summary)


def assemble_corpus(records: SplitRecords, features: ImageFeatures, options: Prepare) -> tuple[Corpus, dict[str, Any]]:
    """Build the corpus of the images with features, and count its words, and truncated, skipped and omitted captions.

    Random splits are sampled from the images with features.

    Raises: DataError when train is empty, or has no word that is frequent enough.
    """
    images = split_remaining(records.unsplit, options, features.rows) if records.unsplit else records.images
    usable = group_by_split(record for record in images if record.image in features.rows)
    if "train" not in usable:
        raise DataError("expected images in the split train, got none with a readable photograph")
    words = {record.image: list(map(caption_words, record.captions)) for record in chain(*usable.values())}
    train = [caption for record in usable["train"] for caption in words[record.image]]
    few = sum(map(len, usable.values())) < FEW_IMAGES
    min_count = options.min_count or (1 if few else MIN_COUNT)
    vocab = Vocab.build(train, min_count)
    if len(vocab) == len(SPECIAL):
        raise DataError(
            f"vocabulary: expected words that occur at least {min_count:,} times in train, got none; "
            "try a smaller --min-count"
        )
    splits, truncated, dtype = {}, 0, stored_dtype(features)
    several = any(len({record.source for record in images}) > 1 for images in usable.values())
    for name, images in usable.items():
        captions = [caption for record in images for caption in words[record.image]]
        truncated += sum(len(caption) > options.max_length for caption in captions)
        rows = np.array([features.rows[record.image] for record in images])
        regions = None if features.regions is None else SelectedFeatures(features.regions, rows, dtype)
        splits[name] = Split(
            captions=vocab.encode([caption[: options.max_length] for caption in captions]),
            image_idxs=np.repeat(np.arange(len(images), dtype=np.int32), [len(record.captions) for record in images]),
            features=SelectedFeatures(features.features, rows, dtype),
            image_ids=[record.image for record in images],
            texts=[caption.text for record in images for caption in record.captions],
            regions=regions,
            sources=[record.source for record in images] if several else None,
        )
    return Corpus(vocab, splits, features.encoder, photo_side=features.photo_side), {
        "truncated": truncated,
        "distinct_words": len({word for caption in train for word in caption}),
        "min_count": min_count,
        "skipped": len(records.issues),
        "omitted": records.omitted,
        **sum((folder.counts for folder in records.folders), Counter[str]()),
    }


def stored_dtype(features: ImageFeatures) -> str:
    """Return float16, or float32, with a warning, if that is too coarse for the features."""
    for array in (features.features, features.regions):
        if array is not None and rounding_error(array, "float16") > MAX_ROUNDING_ERROR:
            warnings.warn(
                "features are stored in float32: the errors of rounding to float16 would exceed "
                f"{MAX_ROUNDING_ERROR:.0%} of the standard deviations",
                stacklevel=2,
            )
            return "float32"
    return "float16"
