"""Detect caption collapse: the same caption for most images, or captions that are mostly `<UNK>`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from captioner.config.options import Config
from captioner.config.schema import either
from captioner.data.corpus import Split, read_regions
from captioner.decode import greedy
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.text.vocabulary import UNK, Vocab

IMAGES = 64
"""Validation images to caption: enough to estimate a fraction, at little cost."""
FIRST_EPOCH = 3
"""Earlier, a model that will be good may still write the same caption for every image."""
MAX_IDENTICAL, MAX_UNK = 0.5, 0.1


class Collapse(NamedTuple):
    """A kind of caption collapse, and its description with what to try."""

    kind: str
    problem: str


def find_collapse(model: CaptioningRNN, split: Split, vocab: Vocab, config: Config) -> Iterator[Collapse]:
    """Yield each kind of collapse in greedy captions of some images, unless the references have it too."""
    images = np.unique(np.linspace(0, split.features.shape[0] - 1, IMAGES).astype(int))
    state = model.start(split.features[images], read_regions(split.regions, images))
    length = config.decode.max_length
    tokens, _ = greedy(
        model.for_inference().step, state, start=vocab.start, end=vocab.end, null=vocab.null, max_length=length
    )
    captions = [vocab.decode(ids) for ids in tokens[:, 0].tolist()]
    _, first = np.unique(split.image_idxs, return_index=True)
    references = [vocab.decode(ids) for ids in split.captions[first].tolist()]
    identical, unk = _identical(captions), _unk(captions)
    if len(images) > 1 and identical > max(MAX_IDENTICAL, 2 * _identical(references)):
        yield Collapse(
            "identical",
            f"{identical:.0%} of {len(images)} validation images get the same caption: the model ignores the image; "
            f"try {either(remedies(config))}",
        )
    if unk > max(MAX_UNK, 2 * _unk(references)):
        yield Collapse(
            "unk",
            f"{unk:.0%} of the words in captions of validation images are {UNK}: "
            f"try {UNK_REMEDIES[config.data.source]}",
        )


def remedies(config: Config) -> list[str]:
    """Return what may help a model that ignores the image, without what the config has already."""
    found = ["a smaller train.learning_rate"]
    if not config.data.standardize:
        found.append("data.standardize true")
    if config.model.image_input != "every":
        found.append("model.image_input every")
    if config.data.source != "scenes":
        found.append("features of another encoder")
    return found


UNK_REMEDIES: Mapping[str, str] = {
    "scenes": "more data.scenes.train",
    "cs231n": "a data set with a larger vocabulary, or more captions",
    "prepared": "a data set prepared with a smaller --min-count, or more captions",
}
"""What may help against `<UNK>`, by data source."""


def _identical(captions: Sequence[Sequence[str]]) -> float:
    """Return the relative frequency of the most common caption."""
    return max(Counter(map(tuple, captions)).values()) / len(captions)


def _unk(captions: Sequence[Sequence[str]]) -> float:
    words = [word for caption in captions for word in caption]
    return words.count(UNK) / max(1, len(words))
