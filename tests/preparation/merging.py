"""Shared helpers for tests of shards and `captioner data merge`."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from preparing import events_of

from captioner.data.corpus import Corpus
from captioner.data.prepared import prepared
from captioner.data.shard import Shard
from captioner.errors import CaptionerError, MergeError
from captioner.preparation.merge import merge


def shards_of(photos: Path, parts: int, **options: Any) -> list[Path]:
    """Prepare all shards of a data set."""
    paths = [photos.parent / f"part{number}.h5" for number in range(1, parts + 1)]
    for number, path in enumerate(paths, 1):
        list(events_of(photos, path, shard=Shard(number, parts), overwrite=True, **options))
    return paths


def whole_of(photos: Path, **options: Any) -> bytes:
    """Prepare the data set without shards."""
    list(events_of(photos, photos.parent / "whole.h5", overwrite=True, **options))
    return (photos.parent / "whole.h5").read_bytes()


def merged(paths: Sequence[Path], **options: Any) -> bytes:
    output = paths[0].parent / "merged.h5"
    list(merge(paths, output, overwrite=True, **options))
    return output.read_bytes()


def merged_corpus(paths: Sequence[Path]) -> Corpus:
    merged(paths)
    return prepared(paths[0].parent / "merged.h5", regions=True)


def refusals(paths: Sequence[Path], kind: type[CaptionerError] = MergeError, **options: Any) -> list[str]:
    """Return the problems of data sets that must not be merged, without their folder."""
    output = options.pop("output", paths[0].parent / "merged.h5")
    with pytest.raises(kind) as caught:
        list(merge(paths, output, **options))
    problems = caught.value.problems if isinstance(caught.value, MergeError) else (str(caught.value),)
    assert all(problem.isprintable() for problem in problems)
    return [re.sub(rf"{re.escape(str(paths[0].parent))}/?", "", problem) for problem in problems]
