"""The training summary: stored by runs, kept when they are resumed, and used for training images and new ones."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.captioning.captioner import Captioner
from captioner.captioning.load import OF_SUMMARY, check_overrides, ensemble_of, open_corpus, open_run, shares_of_split
from captioner.captioning.saved_model import SavedModel, summary_of
from captioner.captioning.training_summary import TrainingSummary, fit_summary
from captioner.config.option_table import OPTIONS
from captioner.data.prepared import prepared
from captioner.decode.word_regression import TrainingFit
from captioner.errors import ConfigError
from captioner.files import checkpoint
from captioner.training.resume import resume


@pytest.fixture(scope="module")
def model(familiar_run: Path) -> SavedModel:
    return open_run(familiar_run)


@pytest.fixture(scope="module")
def summary(model: SavedModel) -> TrainingSummary:
    assert model.summary is not None
    return model.summary


def test_a_run_stores_the_summary_and_a_resumed_run_keeps_it(
    familiar_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fitted again, it may differ by rounding, and costs seconds."""
    corpus = prepared(familiar_run.parent / "data.h5")
    expected = fit_summary(corpus.split("train"), corpus.vocab)
    run = Path(shutil.copytree(familiar_run, tmp_path / "run"))
    step = checkpoint.load(run / "last.h5").meta.step
    monkeypatch.setattr("captioner.training.run.fit_summary", lambda *_: pytest.fail("fitted again"))
    list(resume(run, {"train.max_steps": step + 1}))
    assert checkpoint.load(run / "last.h5").meta.step == step + 1
    for file in (familiar_run / "best.h5", familiar_run / "last.h5", run / "last.h5"):
        arrays = checkpoint.load(file).summary
        assert arrays.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(arrays[name], array, strict=True)
    assert sum(array.nbytes for array in expected.values()) < 1_500_000


def test_an_image_is_expected_to_have_the_shares_of_the_regression(model: SavedModel, summary: TrainingSummary) -> None:
    features, regression = np.asarray(open_corpus(model).split("val").features), summary.regression
    units = (features - summary.mean.astype(float)) / summary.std
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    shares = summary.shares(features)
    expected = units @ regression.projection.T @ regression.words.T + regression.bias
    np.testing.assert_allclose(shares, expected, atol=1e-5)
    assert summary.familiarity is not None
    captions = Captioner(model).caption(features=features)
    assert [caption.familiarity for caption in captions] == summary.familiarity.percentile(units.astype("f")).tolist()
    tokens = np.tile(model.vocab.ids(["a"]), (len(features), 1, 1))
    similarity = regression.similarity(tokens, shares)[:, 0]
    assert (similarity > 0).all()
    np.testing.assert_allclose([caption.similarity for caption in captions], similarity, atol=1e-4)
    opposite = dataclasses.replace(regression, bias=-regression.bias, words=-regression.words)
    unlikely = dataclasses.replace(model, summary=summary._replace(regression=opposite))
    assert [caption.similarity for caption in Captioner(unlikely).caption(features=features)] == [0] * len(features)


def test_training_images_are_expected_without_their_own_references(model: SavedModel, summary: TrainingSummary) -> None:
    corpus, vocab = open_corpus(model), model.vocab
    train, rows = corpus.split("train"), np.arange(200)
    shares = shares_of_split(model, corpus, "train")
    assert shares is not None
    fit = TrainingFit(train, vocab, summary.mean, summary.std, fitted=summary.regression)
    np.testing.assert_array_equal(shares(rows), fit.shares(rows))
    own = train.captions[rows, 1]  # a or café, whatever the features
    bias = summary.shares(train.features[:])[rows, own] - shares(rows)[rows, own]
    assert bias.min() > 0.01, "the references of an image raise their own shares"
    assert shares_of_split(model, corpus, "val") is None
    assert shares_of_split(model, dataclasses.replace(corpus, splits={"train": corpus.split("val")}), "train") is None


@pytest.mark.parametrize("count", [1, 2])
def test_a_summary_of_one_or_two_images(count: int, model: SavedModel) -> None:
    """Words have expected shares only if three images have them; a single image has no familiarity."""
    train, width = open_corpus(model).split("train"), model.meta.feature_dim
    rows = np.arange(count)
    few = dataclasses.replace(train.select_captions(rows), features=train.features[rows], image_ids=["x"] * count)
    summary = summary_of(Path("x.h5"), fit_summary(few, model.vocab), model.vocab, width)
    assert summary is not None
    assert (summary.familiarity is None) == (count == 1)
    assert not summary.shares(train.features[:5]).any()
    (caption,) = Captioner(dataclasses.replace(model, summary=summary)).caption(features=train.features[:1])
    assert (caption.familiarity, caption.similarity, caption.keywords) == (None if count == 1 else 100, 0, [])


def test_captions_below_the_threshold_are_uncertain(familiar_run: Path) -> None:
    split = prepared(familiar_run.parent / "data.h5").split("val")

    def captions(threshold: float) -> list[Any]:
        return list(Captioner(open_run(familiar_run, {"decode.uncertain_below": threshold})).caption_split(split))

    similarities = [caption.similarity for caption in captions(0)]
    assert all(0 < similarity < 1 for similarity in similarities)
    middle = float(np.median(similarities))
    marks = [caption.marks.count("uncertain") for caption in captions(middle)]
    assert marks == [similarity < middle for similarity in similarities]
    assert not any("uncertain" in caption.marks for caption in captions(0))


@pytest.mark.parametrize("path", OF_SUMMARY)
def test_models_without_a_summary_cannot_be_asked_for_it(path: str, model: SavedModel, tiny_run: Path) -> None:
    other = dataclasses.replace(model, meta=dataclasses.replace(model.meta, train_digest="other"))
    assert ensemble_of([model, model]).summary is model.summary
    assert ensemble_of([model, other]).summary is None
    absent = dataclasses.replace(model, summary=None)
    short = open_run(tiny_run)
    cases = {"the models have different training splits": ensemble_of([model, other])}
    cases[f"{model.path} has no training summary; captioner export {model.path} --data FILE "] = absent
    if path == "decode.unfamiliar_below":
        cases[f"{short.path} has no familiarity, which needs at least 2 training images and 256 features"] = short
    else:
        check_overrides(dataclasses.replace(short, changed={path: 0.5}))
    for message, loaded in cases.items():
        with pytest.raises(ConfigError) as caught:
            check_overrides(dataclasses.replace(loaded, changed={path: 0.5}))
        assert str(caught.value).startswith(f"{path}: has no effect: {message}")
        check_overrides(dataclasses.replace(loaded, changed={path: OPTIONS[path].default}))
    check_overrides(dataclasses.replace(ensemble_of([model, model]), changed={path: 0.5}))
