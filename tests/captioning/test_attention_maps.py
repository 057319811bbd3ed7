"""Attention of captions: weights of the decoded words, of models and ensembles, in Python."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest

import captioner
from captioner.arrays import Batch
from captioner.captioning.captioner import Captioner
from captioner.captioning.load import ensemble_of, open_corpus, open_run
from captioner.config.overrides import read_overrides
from captioner.data.corpus import Split, read_regions
from captioner.data.vocabulary import Vocab
from captioner.errors import CaptionerError, CheckpointError
from captioner.model.captioning_model import ModelOrEnsemble

METHODS = {
    "greedy": [],
    "beam": ["decode.beam_width=3", "decode.length_penalty=0.7"],
    "sampling": ["decode.method=sampling"],
    "cut": ["decode.max_length=2"],
    "threads": ["threads=2"],
}


def teacher_forced(model: ModelOrEnsemble, vocab: Vocab, split: Split, image: int, words: Sequence[str]) -> np.ndarray:
    """The weights with which a model predicts words of an image of a split."""
    rows = np.array([image])
    regions = read_regions(split.regions, rows)
    return model.attention_weights(Batch(split.features[rows], vocab.encode([words]), regions))[0, : len(words)]


@pytest.mark.parametrize("name", METHODS)
def test_weights_are_those_of_the_decoded_words(name: str, attention_run: Path) -> None:
    """For each image alone, by teacher forcing with the words of its caption."""
    loaded = open_run(attention_run, read_overrides(["decode.max_length=6", *METHODS[name]]))
    val = open_corpus(loaded).split("val")
    captions = list(Captioner(loaded).with_options({"caption.n_best": 2, "caption.attention": True}).caption_split(val))
    assert len(captions) == 10
    for image, caption in enumerate(captions):
        attention, words = caption.attention, caption.text.split()
        assert attention is not None
        assert (attention.words, attention.grid) == (words, (3, 3))
        np.testing.assert_allclose(attention.weights.sum(axis=1), 1, atol=1e-5)
        np.testing.assert_array_equal(attention.maps, attention.weights[:, :9].reshape(len(words), 3, 3))
        np.testing.assert_array_equal(attention.sentinel, attention.weights[:, 9])
        expected = teacher_forced(loaded.model, loaded.vocab, val, image, words)
        np.testing.assert_allclose(attention.weights, expected, atol=1e-5)
    longest = max(len(caption.text.split()) for caption in captions)
    assert longest == (2 if name == "cut" else 6)


def test_an_ensemble_has_the_mean_weights(attention_run: Path) -> None:
    loaded, rng = open_run(attention_run), np.random.default_rng(3)
    params = {name: rng.standard_normal(w.shape).astype(w.dtype) for name, w in loaded.model.params.items()}
    second = dataclasses.replace(loaded, model=loaded.model.with_params(params))
    ensemble, val = ensemble_of([loaded, second]), open_corpus(loaded).split("val")
    both_attend = Captioner(ensemble).with_options({"caption.attention": True})
    for image, caption in enumerate(both_attend.caption_split(val)):
        weights, words = caption.attention.weights, caption.attention.words
        both = [teacher_forced(model, loaded.vocab, val, image, words) for model in (loaded.model, second.model)]
        np.testing.assert_allclose(weights, np.mean(both, axis=0), atol=1e-5)
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
        assert abs(both[0] - both[1]).max() > 0.01


def test_models_without_attention_are_rejected(attention_run: Path, tiny_run: Path) -> None:
    models = captioner.load([attention_run, tiny_run, tiny_run])
    with pytest.raises(CheckpointError, match="expected models with attention, got none in model 2, 3 of 3; "):
        models.caption(features=np.zeros((1, 231)), attention=True)


def test_features_with_regions_are_captioned(attention_run: Path, tmp_path: Path) -> None:
    model = captioner.load(attention_run)
    val = open_corpus(model.loaded).split("val")
    expected = list(model.with_options({"caption.attention": True}).caption_split(val, 3))
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["features"], file["regions"] = val.features[:3], val.regions[:3]
    of_file = model.with_options({"caption.attention": True}).caption_features(tmp_path / "rows.h5")
    captions = model.caption(features=val.features[:3], regions=val.regions[:3], attention=True)
    for caption, right, same in zip(captions, expected, of_file, strict=True):
        assert (caption.text, caption.image) == (right.text, right.image[-1]) == (same.text, same.image)
        for each in (caption, same):
            np.testing.assert_allclose(each.attention.weights, right.attention.weights, atol=1e-5)
    (plain,) = model.caption(features=val.features[0], regions=val.regions[:1])
    assert (plain.text, plain.attention) == (expected[0].text, None)
    with pytest.raises(CaptionerError, match="expected features with image regions, got features alone"):
        model.caption(features=np.zeros((2, 231)), attention=True)
