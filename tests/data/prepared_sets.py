"""Shared helpers for tests of prepared data sets."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.data.corpus import Corpus, Split
from captioner.data.prepared import prepared
from captioner.data.vocabulary import SPECIAL, Vocab
from captioner.errors import DataError

VOCAB = Vocab((*SPECIAL, "a", "café", "猫"))
RNG = np.random.default_rng(0)
ABOUT = {"made_by": "a test", "counts": {"truncated": 1}}


def split_of(images: int, captions: list[list[str]], dtype: str = "f4", width: int = 3, **changes: Any) -> Split:
    whole = Split(
        captions=VOCAB.encode(captions),
        image_idxs=(np.arange(len(captions)) % images).astype(np.int32),
        features=RNG.standard_normal((images, width)).astype(dtype),
        image_ids=[f"{row}.jpg" for row in range(images)],
        texts=[" ".join(words).title() for words in captions],
    )
    return dataclasses.replace(whole, **changes)


def corpus_of(**splits: Split) -> Corpus:
    return Corpus(VOCAB, splits, "drawn")


WHOLE = corpus_of(
    train=split_of(3, [["a", "café"], ["猫"], ["a", "a", "a"], []]), val=split_of(2, [["nobody", "knows"], ["a"]])
)


def refusal(path: Path) -> str:
    """Return the error of `prepared` without the file name; it is one printable line."""
    with pytest.raises(DataError) as caught:
        prepared(path)
    message = str(caught.value)
    assert re.match(rf"{re.escape(str(path))}: (?!{re.escape(str(path))})", message)
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


def assert_same(corpus: Corpus, other: Corpus) -> None:
    assert (corpus.vocab, corpus.encoder, list(corpus.splits)) == (other.vocab, other.encoder, list(other.splits))
    assert corpus.digest == other.digest
    for name, split in corpus.splits.items():
        twin = other.splits[name]
        assert (split.image_ids, list(split.texts or ())) == (twin.image_ids, list(twin.texts or ()))
        assert split.sources == twin.sources
        assert (split.features.dtype, split.features.shape) == (twin.features.dtype, twin.features.shape)
        for key in ("captions", "image_idxs"):
            assert getattr(split, key).dtype == getattr(twin, key).dtype
            np.testing.assert_array_equal(getattr(split, key), getattr(twin, key))
        np.testing.assert_array_equal(split.features[:], twin.features[:])


def captioned_split(
    vocab: Vocab, captions: list[list[str]], features: Any, name: str, dtype: type[np.floating] = np.float16
) -> Split:
    """Return a split whose images have names such as t0, and one caption each in turn."""
    features = np.asarray(features, dtype)
    return Split(
        captions=vocab.encode(captions),
        image_idxs=np.arange(len(captions), dtype=np.int32) % len(features),
        features=features,
        image_ids=[f"{name}{row}" for row in range(len(features))],
    )
