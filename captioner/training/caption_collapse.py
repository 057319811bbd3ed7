"""Detect caption collapse: the same caption for most images, or captions that are mostly `<UNK>`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from captioner.data.corpus import Split, read_regions
from captioner.decode import greedy
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.text.vocabulary import UNK, Vocab

IMAGES = 64
"""Validation images to caption: enough to estimate a fraction, at little cost."""
FIRST_EPOCH = 3
"""Earlier, a model that will be good may still write the same caption for every image."""
MAX_IDENTICAL, MAX_UNK = 0.5, 0.1


def collapse_warnings(model: CaptioningRNN, split: Split, vocab: Vocab, max_length: int) -> Iterator[str]:
    """Yield one warning per problem in greedy captions of some images, unless the references have it too."""
    images = np.unique(np.linspace(0, split.features.shape[0] - 1, IMAGES).astype(int))
    state = model.start(split.features[images], read_regions(split.regions, images))
    tokens, _ = greedy(
        model.for_inference().step, state, start=vocab.start, end=vocab.end, null=vocab.null, max_length=max_length
    )
    captions = [vocab.decode(ids) for ids in tokens[:, 0].tolist()]
    _, first = np.unique(split.image_idxs, return_index=True)
    references = [vocab.decode(ids) for ids in split.captions[first].tolist()]
    identical, unk = _identical(captions), _unk(captions)
    if len(images) > 1 and identical > max(MAX_IDENTICAL, 2 * _identical(references)):
        yield (
            f"{identical:.0%} of {len(images)} validation images get the same caption: the model ignores the image; "
            "try a smaller train.learning_rate, data.standardize true, or features of another encoder"
        )
    if unk > max(MAX_UNK, 2 * _unk(references)):
        yield (
            f"{unk:.0%} of the words in captions of validation images are <UNK>: "
            "try a data set prepared with a smaller --min-count, or more captions"
        )


def _identical(captions: Sequence[Sequence[str]]) -> float:
    """Return the relative frequency of the most common caption."""
    return max(Counter(map(tuple, captions)).values()) / len(captions)


def _unk(captions: Sequence[Sequence[str]]) -> float:
    words = [word for caption in captions for word in caption]
    return words.count(UNK) / max(1, len(words))
