"""Building of the re-ranking index: float16 precision, sampling of large training splits."""

import dataclasses

import numpy as np
import pytest

from captioner.data.corpus import Corpus
from captioner.data.features import standardization
from captioner.decode import Reranker
from captioner.decode.consensus import inverse_kernel, unit_features
from captioner.errors import DataError
from captioner.inference import reranker_index
from captioner.inference.reranker_index import Index, build_index
from captioner.model.image_input import Standardizer


def test_float16_rounding_changes_expected_cider_little(corpus: Corpus, index: Index) -> None:
    train = corpus.split("train")
    images, references = train.reference_ids(corpus.vocab)
    features = train.features[images]
    standardizer = Standardizer(*standardization(features))
    directions = unit_features(features, standardizer)
    exact = Reranker(directions, inverse_kernel(directions), references, standardizer)
    for queries in (corpus.split("val").features[:], features):
        candidates = [[several[0] for several in references]] * len(queries)
        both = [np.array(one.expected_cider(queries, candidates)) for one in (exact, index.reranker())]
        assert both[0].std() > 0.1
        np.testing.assert_allclose(both[1], both[0], atol=0.01)


def test_a_large_training_split_is_sampled(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reranker_index, "MAX_IMAGES", 7)
    weights = build_index(corpus).reranker().weights(corpus.split("train").features[:])
    assert weights.shape == (40, 7)
    own = np.flatnonzero((weights == 0).any(axis=1)).tolist()
    assert own == [0, 6, 13, 19, 26, 32, 39], "those are not regressed on themselves"


def test_an_index_needs_a_training_split(corpus: Corpus) -> None:
    with pytest.raises(DataError, match="split 'train': not found"):
        build_index(dataclasses.replace(corpus, splits={"val": corpus.split("val")}))
