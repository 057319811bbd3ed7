"""Keywords: the output layers of the published networks, and the names of their classes."""

import re
from pathlib import Path

import numpy as np
import pytest

import captioner
from captioner.errors import UsageError
from captioner.images.efficientnet_weights import read_weights, weights_file
from captioner.images.keywords import CLASSES, open_classifier, read_names

LITE0, LITE2 = "efficientnet-lite0", "efficientnet-lite2"


def test_the_probabilities_are_the_softmax_of_the_mean_logits() -> None:
    features = np.random.default_rng(0).random((3, 2560)).astype(np.float16)
    top = open_classifier(f"{LITE0}-1:mirror+{LITE2}-1:size=288").keywords(features, CLASSES)
    logits = np.zeros((3, CLASSES))
    for name, part in ((LITE0, features[:, :1280]), (LITE2, features[:, 1280:])):
        weights = read_weights(name, weights_file(name))
        logits += (part.astype(float) @ weights["_fc.weight"].T.astype(float) + weights["_fc.bias"]) / 2
    names = read_names()
    for row, keywords in zip(logits, top, strict=True):
        expected = np.exp(row) / np.exp(row).sum()
        assert [keyword.name for keyword in keywords[:20]] == [names[index] for index in np.argsort(-expected)[:20]]
        np.testing.assert_allclose([keyword.probability for keyword in keywords], -np.sort(-expected), rtol=1e-3)


def test_every_class_has_a_name() -> None:
    names = read_names()
    assert (len(names), names[0], names[1], names[-1]) == (CLASSES, "tench", "goldfish", "toilet paper")
    assert all(name == name.strip() and name.isprintable() for name in names)


@pytest.mark.parametrize("identity", ["scenes-1", f"{LITE0}-1+scenes-1", "features:a.h5", "vgg16"])
def test_other_encoders_have_no_classes(identity: str) -> None:
    with pytest.raises(
        UsageError, match=f"^keywords: expected features of {LITE0} or {LITE2}, got {re.escape(identity)}, "
    ):
        open_classifier(identity)


def test_captions_have_the_keywords_that_were_asked_for(familiar_run: Path) -> None:
    model, features = captioner.load(familiar_run), np.eye(2, 1280, dtype=np.float32)
    expected = open_classifier(f"{LITE0}-1").keywords(features, 3)
    assert [caption.keywords for caption in model.caption(features=features, keywords=3)] == expected
    assert [caption.keywords for caption in model.caption(features=features)] == [(), ()]
    with pytest.raises(UsageError, match=r"^caption: keywords: expected 0 to 1,000, got 1001$"):
        model.caption(features=features, keywords=1001)
