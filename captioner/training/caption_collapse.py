"""What a model writes when it learns nothing of the images: the same caption for most, or words that are not words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from captioner.data.corpus import Split
from captioner.decode import greedy
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.text.vocabulary import UNK, Vocab

IMAGES = 64
"""Looked at in a validation: enough for a share, and a moment's work."""
FIRST_EPOCH = 3
"""Before, a model that will be good may say the same of everything."""
ALIKE, RARE = 0.5, 0.1


def collapse_warnings(model: CaptioningRNN, split: Split, vocab: Vocab, max_length: int) -> Iterator[str]:
    """A line for each symptom in the captions of some images, where people's captions do not have it too."""
    images = np.unique(np.linspace(0, split.features.shape[0] - 1, IMAGES).astype(int))
    state = model.start(split.features[images])
    tokens, _ = greedy(
        model.for_inference().step, state, start=vocab.start, end=vocab.end, null=vocab.null, max_length=max_length
    )
    written = [vocab.decode(ids) for ids in tokens[:, 0].tolist()]
    _, first = np.unique(split.image_idxs, return_index=True)
    people = [vocab.decode(ids) for ids in split.captions[first].tolist()]
    alike, unk = _alike(written), _unk(written)
    if len(images) > 1 and alike > max(ALIKE, 2 * _alike(people)):
        yield (
            f"{alike:.0%} of {len(images)} validation images get the same caption: the model does not look at them; "
            "try a smaller train.learning_rate, data.standardize true, or features of another encoder"
        )
    if unk > max(RARE, 2 * _unk(people)):
        yield (
            f"{unk:.0%} of the words written for validation images are <UNK>: try a data set prepared with a smaller "
            "--min-count, or more captions"
        )


def _alike(captions: Sequence[Sequence[str]]) -> float:
    """The share of the commonest caption."""
    return max(Counter(map(tuple, captions)).values()) / len(captions)


def _unk(captions: Sequence[Sequence[str]]) -> float:
    """The share of `<UNK>` among the words."""
    words = [word for caption in captions for word in caption]
    return words.count(UNK) / max(1, len(words))
