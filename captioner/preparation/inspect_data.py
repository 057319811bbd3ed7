"""Inspect data sets: `captioner data` check and show."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from captioner.config.options import Prepare
from captioner.config.overrides import Values, checked_values
from captioner.config.yaml_io import load
from captioner.data.corpus import Corpus
from captioner.data.features import open_features
from captioner.data.summary import summarize
from captioner.errors import DataError, UsageError
from captioner.files.saved import DATA_SET
from captioner.preparation.find_photos import check_different, locate_images
from captioner.preparation.image_records import read_records, reporting_issues
from captioner.preparation.load_corpus import build_corpus, source_kind, source_of
from captioner.preparation.prepare import summarize_records


class Example(NamedTuple):
    """An image of a split: its name and references."""

    image: str
    references: list[str]


def source_overrides(source: str) -> Values:
    """Return the config overrides for a data set: a prepared file, a CS231n folder, or `scenes`.

    Raises: UsageError for anything else.
    """
    kind = source_of(source, "to check caption files, use `captioner data check`")
    return checked_values({"data.source": kind} | ({} if kind == "scenes" else {"data.root": source}))


def check(sources: Sequence[str], lists: Sequence[str], options: Prepare) -> tuple[list[object], dict[str, Any]]:
    """Check caption files with their photographs, or a data set; return all issues and the summary.

    Raises: DataError for a damaged data set, UsageError for options that do not apply to a data set.
    """
    (first, *others) = sources
    if not others and source_kind(first):
        fields = [field.name for field in dataclasses.fields(options)]
        changed = [name for name in fields if getattr(options, name) != getattr(Prepare(), name)]
        if changed or lists:
            option = changed[0].replace("_", "-") if changed else "list"
            raise UsageError(f"{first}: --{option} does not apply to a prepared data set; remove the option")
        return [], summarize_corpus(build_corpus(load(None, source_overrides(first)), regions=True))
    records = read_records(sources, lists, options)
    images = {record.image for record in records.images}
    photos: dict[str, Path] = {}
    missing: dict[str, DataError] = {}
    for folder in records.folders:
        path = folder.features
        if path is None:
            try:
                found, errors = locate_images([folder], images)
            except DataError as error:  # all of its photographs are missing: check the captions anyway
                found, errors = {}, dict.fromkeys(folder.select(images).values(), error)
            photos, missing = photos | found, missing | errors
        elif folder.images and not DATA_SET.matches(path):
            folder.rows.check(open_features(path, memory_mib=0).shape[0], path)
    problems: list[object] = [*records.issues, *dict.fromkeys(missing.values())]
    try:
        check_different(records.folders, photos)
    except DataError as error:
        problems.append(error)
    with reporting_issues(problems):
        summary = summarize_records(records, options, missing if photos else ())
    summary["counts"]["missing"] = len(missing)
    return problems, summary


def summarize_corpus(corpus: Corpus) -> dict[str, Any]:
    """Summarize a data set, with the counts of its preparation."""
    summary = summarize(corpus)
    match corpus.about.get("counts"):
        case {"distinct_words": int(), "min_count": int(), **others} as counts:
            if all(isinstance(number, int) for number in others.values()):
                summary["counts"] = counts
    return summary


def examples(corpus: Corpus, name: str, count: int, seed: int) -> list[Example]:
    """Sample `count` images of a split by a seed, in file order."""
    split = corpus.split(name)
    rows = np.random.default_rng(seed).permutation(split.features.shape[0])[:count]
    return [Example(split.image_ids[row], split.references(row, corpus.vocab)) for row in sorted(rows.tolist())]
