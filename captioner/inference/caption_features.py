"""Caption image features: those of a split, or the rows of a feature file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from captioner.arrays import Array
from captioner.data.corpus import Features, Split
from captioner.data.features import memory_of, open_features
from captioner.data.shard import Shard
from captioner.inference.caption import Caption
from captioner.inference.captioner import Captioner
from captioner.text.vocabulary import Vocab


def caption_split(
    captioner: Captioner,
    split: Split,
    limit: int | None = None,
    n_best: int = 1,
    vocab: Vocab | None = None,
    attention: bool = False,
    shard: Shard | None = None,
) -> Iterator[Caption]:
    """Caption the images of a split, the first `limit` of them, or one `shard` of these, in file order.

    `vocab` is the vocabulary of the data set, by default that of the model. With `attention`, each caption has its
    attention weights.

    Raises: UsageError if there are more shards than images.
    """
    rows = _rows(split.features, limit, shard)
    decoded = captioner.decode(split.features, n_best, regions=split.regions, attention=attention, rows=rows)
    for image, found in zip(rows.tolist(), decoded, strict=True):
        references = split.references(image, vocab or captioner.loaded.vocab)
        true = None if split.is_true is None else split.is_true(image, found.candidates[0].text.split())
        yield found.caption(split.image_ids[image], references, true)


def caption_features(
    captioner: Captioner,
    path: Path,
    limit: int | None = None,
    n_best: int = 1,
    attention: bool = False,
    shard: Shard | None = None,
) -> Iterator[Caption]:
    """Caption the rows of `features` in an HDF5 file, with `regions` for attention, the first `limit` of them, or one
    `shard` of these.

    Raises: UsageError if there are more shards than rows, DataError, or CheckpointError when the rows have another
    shape than the model expects.
    """
    memory_mib = captioner.loaded.config.data.memory_mib
    features, regions = open_features(path, memory_mib=memory_mib), None
    if captioner.loaded.meta.region_dim:
        regions = open_features(path, "regions", max(0, memory_mib - memory_of(features)), ndim=4)
    captioner.check_features(features, str(path), limit, regions)
    rows = _rows(features, limit, shard)
    decoded = captioner.decode(features, n_best, regions=regions, attention=attention, rows=rows)
    for row, found in zip(rows.tolist(), decoded, strict=True):
        yield found.caption(str(row))


def _rows(features: Features, limit: int | None, shard: Shard | None) -> Array:
    rows = np.arange(features.shape[0])[:limit]
    return rows if shard is None else rows[shard.rows(len(rows))]
