"""Attention of captions: weights of the decoded words, of models and ensembles, in Python."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import captioner
from captioner.data.corpus import read_regions
from captioner.errors import CaptionerError, CheckpointError
from captioner.inference.load import captioner_of, ensemble_of, open_corpus, open_run

METHODS = {
    "greedy": [],
    "beam": ["decode.beam_width=3", "decode.length_penalty=0.7"],
    "sampling": ["decode.method=sampling"],
    "cut": ["decode.max_length=2"],
    "threads": ["threads=2"],
}


@pytest.mark.parametrize("name", METHODS)
def test_weights_are_those_of_the_decoded_words(name: str, attention_run: Path) -> None:
    """For each image alone, by teacher forcing with the words of its caption."""
    loaded = open_run(attention_run, ["decode.max_length=6", *METHODS[name]])
    val = open_corpus(loaded).split("val")
    found = list(captioner_of(loaded).caption_split(val, n_best=2, attention=True))
    assert len(found) == 10
    for image, caption in enumerate(found):
        one = caption.attention
        assert one is not None
        assert one.words == caption.text.split()
        assert one.grid == (3, 3)
        assert one.weights.shape == (len(one.words), 10)
        np.testing.assert_allclose(one.weights.sum(axis=1), 1, atol=1e-5)
        assert one.maps.shape == (len(one.words), 3, 3)
        np.testing.assert_array_equal(one.maps.reshape(-1, 9), one.weights[:, :9])
        np.testing.assert_array_equal(one.sentinel, one.weights[:, 9])
        rows = np.array([image])
        ids = loaded.vocab.encode([one.words])
        alone = loaded.model.attention_weights(val.features[rows], ids, read_regions(val.regions, rows))
        np.testing.assert_allclose(one.weights, alone[0, : len(one.words)], atol=1e-5)
    longest = max(len(caption.text.split()) for caption in found)
    assert longest == (2 if name == "cut" else 6)


def test_captions_are_the_same_without_attention(attention_run: Path) -> None:
    loaded = open_run(attention_run)
    val = open_corpus(loaded).split("val")
    plain, attended = (list(captioner_of(loaded).caption_split(val, n_best=2, attention=on)) for on in (False, True))
    assert [one._replace(attention=None) for one in attended] == plain


def other(run: Path) -> captioner.CaptioningRNN:
    """The model of a run, with other parameters."""
    model, rng = open_run(run).model, np.random.default_rng(3)
    return model.with_params({name: rng.standard_normal(w.shape).astype(w.dtype) for name, w in model.params.items()})


def test_an_ensemble_has_the_mean_weights(attention_run: Path) -> None:
    loaded = open_run(attention_run)
    second = dataclasses.replace(loaded, model=other(attention_run))
    ensemble, val = ensemble_of([loaded, second]), open_corpus(loaded).split("val")
    for image, caption in enumerate(captioner_of(ensemble).caption_split(val, attention=True)):
        one = caption.attention
        assert one is not None
        ids, rows = loaded.vocab.encode([one.words]), np.array([image])
        both = [
            m.attention_weights(val.features[rows], ids, read_regions(val.regions, rows))
            for m in (loaded.model, second.model)
        ]
        np.testing.assert_allclose(one.weights, np.mean(both, axis=0)[0, : len(one.words)], atol=1e-5)
        np.testing.assert_allclose(one.weights.sum(axis=1), 1, atol=1e-5)
        assert abs(both[0] - both[1]).max() > 0.01


def test_models_without_attention_are_rejected(attention_run: Path, tiny_run: Path) -> None:
    plain = captioner.load(tiny_run)
    with pytest.raises(CheckpointError) as caught:
        plain.caption(features=np.zeros((1, 231)), attention=True)
    assert str(caught.value) == (
        f"{tiny_run}/best.h5: attention maps: expected a model with attention, got model.attention none; "
        "train with -o model.attention=adaptive"
    )
    mixed = captioner.load([attention_run, tiny_run, attention_run])
    with pytest.raises(CheckpointError) as caught:
        mixed.caption(features=np.zeros((1, 231)), attention=True)
    assert str(caught.value) == (
        "attention maps: expected models with attention, got none in model 2 of 3; leave out models without attention, "
        "or train with -o model.attention=adaptive"
    )
    mixed = captioner.load([attention_run, tiny_run, tiny_run])
    with pytest.raises(CheckpointError, match=r"got none in model 2, 3 of 3; leave out models without attention"):
        mixed.caption(features=np.zeros((1, 231)), attention=True)


def test_features_with_regions_are_captioned(attention_run: Path) -> None:
    model = captioner.load(attention_run)
    val = open_corpus(model.loaded).split("val")
    expected = list(model.caption_split(val, 3, attention=True))
    found = model.caption(features=val.features[:3], regions=val.regions[:3], attention=True)
    for caption, one in zip(found, expected, strict=True):
        assert (caption.text, caption.image) == (one.text, one.image[-1])
        np.testing.assert_allclose(caption.attention.weights, one.attention.weights, atol=1e-5)
    (plain,) = model.caption(features=val.features[0], regions=val.regions[:1])
    assert (plain.text, plain.attention) == (expected[0].text, None)


def test_features_without_regions_are_rejected(attention_run: Path) -> None:
    with pytest.raises(CaptionerError, match="regions"):
        captioner.load(attention_run).caption(features=np.zeros((2, 231)), attention=True)
