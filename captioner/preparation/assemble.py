"""Build the corpus of a data set from image records and features."""

from __future__ import annotations

from typing import Any

import numpy as np

from captioner.config.options import Prepare
from captioner.data.corpus import Corpus, Split
from captioner.data.features import SelectedFeatures
from captioner.errors import DataError
from captioner.preparation.encode import ImageFeatures
from captioner.preparation.image_records import SplitRecords, caption_words, usable_splits
from captioner.text.vocabulary import SPECIAL, Vocab


def assemble(records: SplitRecords, found: ImageFeatures, options: Prepare) -> tuple[Corpus, dict[str, Any]]:
    """Build the corpus of the images with features, and count its words and truncated captions.

    Raises: DataError when train is empty, or has no word that is frequent enough.
    """
    usable = usable_splits(records, found.rows, options)
    words = {
        one.image: [caption_words(caption) for caption in one.captions] for images in usable.values() for one in images
    }
    train = [caption for one in usable["train"] for caption in words[one.image]]
    vocab = Vocab.build(train, options.min_count, options.max_words)
    if len(vocab) == len(SPECIAL):
        raise DataError(
            f"vocabulary: expected words that occur at least {options.min_count:,} times in train, got none; "
            "try a smaller --min-count"
        )
    splits, truncated = {}, 0
    for name, images in usable.items():
        captions = [caption for one in images for caption in words[one.image]]
        truncated += sum(len(caption) > options.max_length for caption in captions)
        rows = np.array([found.rows[one.image] for one in images])
        regions = None if found.regions is None else SelectedFeatures(found.regions, rows, found.dtype)
        splits[name] = Split(
            captions=vocab.encode([caption[: options.max_length] for caption in captions]),
            image_idxs=np.repeat(np.arange(len(images), dtype=np.int32), [len(one.captions) for one in images]),
            features=SelectedFeatures(found.features, rows, found.dtype),
            image_ids=[one.image for one in images],
            texts=[caption.text for one in images for caption in one.captions],
            regions=regions,
        )
    distinct_words = len({word for caption in train for word in caption})
    return Corpus(vocab, splits, found.encoder), {
        "truncated": truncated,
        "distinct_words": distinct_words,
        "min_count": options.min_count,
    }
