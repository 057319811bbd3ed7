"""Check that data sets can be merged, and find all problems at once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from captioner.data.corpus import Features
from captioner.images.recipe import without_file_name
from captioner.preparation.merge_inputs import MergeInput

MAX_NAMES = 5
"""Maximum image names, or shards, in a message."""


def _features(one: MergeInput) -> Features:
    return next(iter(one.features.values()))


def _grid(one: MergeInput) -> str:
    return next((" x ".join(map(str, regions.shape[1:])) for regions in one.regions.values()), "none")


def _option(name: str) -> Callable[[MergeInput], object]:
    return lambda one: getattr(one.options, name)


COMPARED: Mapping[str, Callable[[MergeInput], object]] = {
    "encoder": lambda one: without_file_name(one.encoder),
    "features per image": lambda one: _features(one).shape[1],
    "dtype": lambda one: _features(one).dtype,
    "regions": _grid,
    "--min-count": _option("min_count"),
    "--max-words": _option("max_words"),
    "--max-length": _option("max_length"),
}
"""What all data sets must have in common."""
COMPARED_SHARDS: Mapping[str, Callable[[MergeInput], object]] = {
    "number of shards": lambda one: one.shard and one.shard.shard.parts,
    "--val": _option("val"),
    "--test": _option("test"),
    "--seed": _option("seed"),
    "captions and splits": lambda one: one.shard and f"SHA-256 {one.shard.digest:.12}",
}
"""What all shards must have in common, too."""


def repeated_paths(paths: Sequence[Path]) -> Iterator[str]:
    """Yield a problem for each file that is given twice."""
    names = {os.path.abspath(path): path for path in reversed(paths)}
    for path, count in Counter(os.path.abspath(path) for path in paths).items():
        if count > 1:
            yield f"{names[path]}: expected each file once, got it {count} times"


def problems_of(inputs: Sequence[MergeInput]) -> Iterator[str]:
    """Yield all reasons why data sets cannot be merged."""
    first, shards = inputs[0], [one.shard is not None for one in inputs]
    if any(shards) and not all(shards):
        whole = inputs[shards.index(False)]
        yield (
            f"{whole.path}: expected a shard, as {inputs[shards.index(True)].path} is, got a complete data set; merge "
            "the shards first"
        )
        return
    for one in inputs[1:]:
        for name, value in {**COMPARED, **(COMPARED_SHARDS if all(shards) else {})}.items():
            expected, got = value(first), value(one)
            if got != expected:
                yield f"{one.path}: {name}: expected {expected}, as in {first.path}, got {got}"
    yield from _incomplete(inputs) if all(shards) else _collisions(inputs)


def _incomplete(inputs: Sequence[MergeInput]) -> Iterator[str]:
    """Yield missing and repeated shards; shards of another number of shards are ignored."""
    count = max(Counter(one.shard.shard.parts for one in inputs if one.shard).items(), key=lambda item: item[1])[0]
    found: dict[int, list[Path]] = {}
    for one in inputs:
        if one.shard is not None and one.shard.shard.parts == count:
            found.setdefault(one.shard.shard.number, []).append(one.path)
    for number, paths in found.items():
        if len(paths) > 1:
            yield f"shard {number}/{count}: expected one file, got {len(paths)}: {_some([str(path) for path in paths])}"
    if missing := count - len(found):
        first = islice((number for number in range(1, count + 1) if number not in found), MAX_NAMES)
        names = _some([f"{number}/{count}" for number in first], missing)
        yield f"expected all shards from 1/{count} to {count}/{count}; missing: {names}"


def _collisions(inputs: Sequence[MergeInput]) -> Iterator[str]:
    """Yield the image names that are in two files."""
    owners: dict[str, Path] = {}
    for one in inputs:
        names = [image.image for images in one.images.values() for image in images]
        taken: dict[Path, list[str]] = {}
        for name in names:
            if owners.setdefault(name, one.path) != one.path:
                taken.setdefault(owners[name], []).append(name)
        for other, common in taken.items():
            yield (
                f"{one.path}: expected other image names than in {other}, got {len(common):,} of the same: "
                f"{_some(common)}; prepare one of them with other names, such as with their folders"
            )
        if own := [name for name, count in Counter(names).items() if count > 1]:
            yield f"{one.path}: expected each image name once, got {_some(own)} several times"


def _some(names: Sequence[str], total: int | None = None) -> str:
    """List the first of `total` names, and the number of others."""
    others = (total or len(names)) - MAX_NAMES
    more = f" and {others:,} more" if others > 0 else ""
    return ", ".join(names[:MAX_NAMES]) + more
