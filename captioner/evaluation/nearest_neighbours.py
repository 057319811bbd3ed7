"""Nearest-neighbour baseline: caption an image with the consensus of the captions of similar training images."""

from __future__ import annotations

import numpy as np

from captioner.arrays import Array, normalize_rows
from captioner.data.corpus import Corpus, Features
from captioner.data.vocabulary import normalize
from captioner.metrics import CiderD, ptb_tokenize

NEIGHBOURS = 30
ROWS = 256
IMAGES_PER_BATCH = 16
"""Images whose candidate captions are scored at once."""


def nearest_neighbour_captions(corpus: Corpus, name: str, rows: Array) -> list[str]:
    """Return the consensus caption of each image: the most similar on average to all captions of its neighbours.

    Neighbours are the training images with the greatest cosine similarity of features. Similarity of captions is
    CIDEr-D with the document frequencies of the training split.

    Raises: DataError when the split does not exist.
    Source: Devlin et al., "Exploring nearest neighbor approaches for image captioning", 2015, section 3.
    """
    train = corpus.split("train")
    captioned = train.captioned_images
    texts = {image: train.references(image, corpus.vocab) for image in captioned.tolist()}
    words = {image: list(map(ptb_tokenize, map(normalize, references))) for image, references in texts.items()}
    frequencies = CiderD(list(words.values()))
    neighbours = nearest(corpus.split(name).features, rows, train.features, captioned).tolist()
    captions = []
    for first in range(0, len(rows), IMAGES_PER_BATCH):
        batch = neighbours[first : first + IMAGES_PER_BATCH]
        candidates = [[caption for image in near for caption in words[image]] for near in batch]
        places = np.repeat(np.arange(len(candidates)), list(map(len, candidates)))
        every = [caption for captions in candidates for caption in captions]
        scores = CiderD(candidates, frequencies).score(places, every)
        for place, near in enumerate(batch):
            best = int(scores[places == place].argmax())
            captions.append([text for image in near for text in texts[image]][best])
    return captions


def nearest(features: Features, rows: Array, others: Features, allowed: Array, count: int = NEIGHBOURS) -> Array:
    """Return the rows of `others`, out of `allowed`, with the greatest cosine similarity, most similar first.

    Shapes: features (M, F), rows (N,), others (L, F), allowed (K,) -> (N, min(count, K)).
    """
    directions = _unit(others, allowed)
    order = [
        np.argsort(-(_unit(features, rows[first : first + ROWS]) @ directions.T), axis=1, kind="stable")[:, :count]
        for first in range(0, len(rows), ROWS)
    ]
    return allowed[np.concatenate(order)]


def _unit(features: Features, rows: Array) -> Array:
    """Normalize rows to unit length, in float64, since squares may overflow; zeros stay zeros."""
    blocks = (features[rows[first : first + ROWS]] for first in range(0, len(rows), ROWS))
    return np.concatenate([normalize_rows(block.astype(np.float64)) for block in blocks])
