"""ImageNet labels: the output layers of the published networks, and the names of their classes."""

import re
from pathlib import Path

import numpy as np
import pytest

import captioner
from captioner.errors import ConfigError, UsageError
from captioner.images.efficientnet import open_classifier, read_names, read_weights, weights_file

LITE0, LITE2 = "efficientnet-lite0", "efficientnet-lite2"
CLASSES = 1000


def test_the_probabilities_are_the_softmax_of_the_mean_logits() -> None:
    features = (np.random.default_rng(0).random((3, 2560)) / 0.7).astype(np.float16)
    top = open_classifier(f"{LITE0}-1+{LITE2}-1:size=288").labels(features, CLASSES)
    logits = np.zeros((3, CLASSES))
    for name, part in ((LITE0, features[:, :1280]), (LITE2, features[:, 1280:])):
        weights = read_weights(name, weights_file(name))
        logits += (part.astype(float) @ weights["_fc.weight"].T.astype(float) + weights["_fc.bias"]) / 2
    names = read_names()
    for row, labels in zip(logits, top, strict=True):
        expected = np.exp(row) / np.exp(row).sum()
        likely = [index for index in np.argsort(-expected) if expected[index] > 0.005]  # the others are 0 %
        assert len(likely) > 5
        assert [label.name for label in labels] == [names[index] for index in likely]
        np.testing.assert_allclose([label.probability for label in labels], expected[likely], rtol=1e-3)


def test_every_class_has_a_name() -> None:
    names = read_names()
    assert (len(names), names[0], names[1], names[-1]) == (CLASSES, "tench", "goldfish", "toilet paper")
    assert all(name == name.strip() and name.isprintable() for name in names)


@pytest.mark.parametrize("identity", ["scenes-1", f"{LITE0}-1+scenes-1", "features:a.h5", "vgg16"])
def test_other_encoders_have_no_classes(identity: str) -> None:
    with pytest.raises(
        UsageError, match=f"^labels: expected features of {LITE0} or {LITE2}, got {re.escape(identity)}, "
    ):
        open_classifier(identity)


def test_captions_have_the_labels_that_were_asked_for(familiar_run: Path) -> None:
    model, features = captioner.load(familiar_run), np.eye(2, 1280, dtype=np.float32)
    expected = open_classifier(f"{LITE0}-1").labels(features, 3)
    assert [caption.labels for caption in model.caption(features=features, labels=3)] == expected
    assert [caption.labels for caption in model.caption(features=features)] == [(), ()]
    with pytest.raises(ConfigError, match=r"^caption\.labels: expected an integer >= 0 and <= 1000, got 1001$"):
        model.caption(features=features, labels=1001)
