"""Build the re-ranking index of a data set, and check that an index belongs to a data set or a model."""

from __future__ import annotations

import hashlib
from itertools import chain
from pathlib import Path

import numpy as np

from captioner.arrays import Array
from captioner.data.corpus import Corpus, Split
from captioner.data.features import standardization
from captioner.decode.consensus import inverse_kernel, normalize_rows, unit_features
from captioner.errors import CheckpointError
from captioner.images.recipe import same_encoder
from captioner.inference.reranker_index import MAX_IMAGES, Index, Origin, fold, load
from captioner.inference.restore import LoadedModel
from captioner.model.image_input import Standardizer
from captioner.text.vocabulary import Vocab


def build_index(corpus: Corpus) -> Index:
    """Build the index of a data set.

    Raises: DataError when the data set has no training split.
    """
    train = corpus.split("train")
    images, references = train.reference_ids(corpus.vocab)
    some = _sample(len(images))
    features = train.features[images[some]]
    standardizer = Standardizer(*standardization(features))
    directions = unit_features(features, standardizer).astype(np.float16)
    captions = [references[image] for image in some.tolist()]
    flat = list(chain.from_iterable(captions))
    arrays = {
        "directions": directions,
        "inverse": fold(inverse_kernel(normalize_rows(directions.astype(np.float32)))),
        "words": np.array(list(chain.from_iterable(flat)), np.int32),
        "lengths": np.array(list(map(len, flat)), np.int32),
        "counts": np.array(list(map(len, captions)), np.int32),
        **standardizer._asdict(),
    }
    return Index(origin_of(corpus), arrays)


def index_rows(train: Split) -> Array:
    """Return the row of each image of a training split in its index, or -1 for an image that is not in it.

    Shapes: -> (M,).
    """
    rows = np.full(train.features.shape[0], -1)
    indexed = train.captioned_images[_sample(len(train.captioned_images))]
    rows[indexed] = np.arange(len(indexed))
    return rows


def _sample(images: int) -> Array:
    """Return which of the images with captions are in an index: all, or an even sample."""
    return np.unique(np.linspace(0, images - 1, min(MAX_IMAGES, images)).astype(int))


def is_current(path: Path, corpus: Corpus) -> bool:
    """Whether a file is an undamaged index of a data set."""
    try:
        return load(path).origin == origin_of(corpus)
    except CheckpointError:
        return False


def check_index(path: Path, index: Index, loaded: LoadedModel) -> Index:
    """Check that an index belongs to a model, and return it.

    Raises: CheckpointError when it was built from another training split, vocabulary or encoder.
    """
    meta, origin = loaded.meta, index.origin
    expected = {
        "vocabulary": origin.vocabulary == _digest(loaded.vocab),
        "encoder": same_encoder(origin.encoder, meta.encoder),
        "feature width": index.arrays["directions"].shape[1] == meta.feature_dim,
        "training split": meta.train_fingerprint == origin.train,
    }
    for what, is_same in expected.items():
        if not is_same:
            raise CheckpointError(
                f"{path}: expected the {what} of {loaded.path}, got that of another run; delete the file"
            )
    return index


def check_train(loaded: LoadedModel, corpus: Corpus) -> None:
    """Check that a data set has the training split of a model.

    Raises: CheckpointError when it has another.
    """
    if corpus.fingerprint(["train"]) != loaded.meta.train_fingerprint:
        root = loaded.config.data.root or loaded.config.data.source
        raise CheckpointError(
            f"{root}: training split: expected the captions that {loaded.path} was trained on, got others; "
            "use the training data set"
        )


def origin_of(corpus: Corpus) -> Origin:
    """Return the digests of a data set's training split and vocabulary, and its encoder."""
    return Origin(corpus.fingerprint(["train"]), _digest(corpus.vocab), corpus.encoder)


def _digest(vocab: Vocab) -> str:
    return hashlib.sha256("\n".join(vocab.words).encode()).hexdigest()
