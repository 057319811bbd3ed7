"""Caption image features: those of a split, or the rows of a feature file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from captioner.data.corpus import Split
from captioner.data.features import memory_of, open_features
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
) -> Iterator[Caption]:
    """Caption the images of a split, or the first `limit` of them, in file order.

    `vocab` is the vocabulary of the data set, by default that of the model. With `attention`, each caption has its
    attention weights.
    """
    decoded = captioner.decode(split.features, n_best, limit, regions=split.regions, attention=attention)
    for image, found in enumerate(decoded):
        references = split.references(image, vocab or captioner.loaded.vocab)
        true = None if split.is_true is None else split.is_true(image, found.candidates[0].text.split())
        yield found.caption(split.image_ids[image], references, true)


def caption_features(
    captioner: Captioner, path: Path, limit: int | None = None, n_best: int = 1, attention: bool = False
) -> Iterator[Caption]:
    """Caption the rows of `features` in an HDF5 file, with `regions` for attention, or the first `limit` of them.

    Raises: DataError, or CheckpointError when the rows have another shape than the model expects.
    """
    memory_mib = captioner.loaded.config.data.memory_mib
    features, regions = open_features(path, memory_mib=memory_mib), None
    if captioner.loaded.meta.region_dim:
        regions = open_features(path, "regions", max(0, memory_mib - memory_of(features)), ndim=4)
    captioner.check_features(features, str(path), limit, regions)
    for row, found in enumerate(captioner.decode(features, n_best, limit, regions=regions, attention=attention)):
        yield found.caption(str(row))
