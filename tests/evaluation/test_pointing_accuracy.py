"""Pointing accuracy of a model with attention, and its absence."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from captioner.config.yaml_io import parse
from captioner.data.corpus import read_regions
from captioner.evaluation.pointing import pointing_accuracy
from captioner.inference.ensemble import ensemble_of
from captioner.inference.load import open_corpus, open_run
from captioner.training.train import train


@pytest.fixture(scope="module")
def run(small: Sequence[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attention") / "run"
    for _ in train(parse("", "", [*small, "model.attention=adaptive", "train.max_steps=2"]), folder):
        pass
    return folder


def test_the_words_of_all_images_count(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches, with the weights of the words of each caption."""
    monkeypatch.setattr("captioner.evaluation.pointing.BATCH", 3)
    loaded = open_run(run)
    val = open_corpus(loaded).split("val")
    captions = [val.references(image, loaded.vocab)[0] for image in range(10)]
    expected = []
    for image, caption in enumerate(captions):
        words = caption.split()
        regions = read_regions(val.regions, np.array([image]))
        weights = loaded.model.attention_weights(val.features[image : image + 1], loaded.vocab.encode([words]), regions)
        expected += val.pointing_game(image, words, weights[0, : len(words)])
    assert pointing_accuracy(loaded, val, captions) == pytest.approx(np.mean(expected))
    assert len(expected) >= 20


def test_other_models_and_data_sets_have_none(run: Path, tiny_run: Path) -> None:
    plain, loaded = open_run(tiny_run), open_run(run)
    val = open_corpus(loaded).split("val")
    assert pointing_accuracy(plain, val, ["a large red circle"] * 10) is None
    assert pointing_accuracy(ensemble_of([loaded, loaded]), val, ["a large red circle"] * 10) is None
    assert pointing_accuracy(loaded, dataclasses.replace(val, pointing_game=None), ["a"] * 10) is None
