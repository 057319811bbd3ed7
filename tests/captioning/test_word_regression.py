"""Word regression: equal to its definition for all shapes, higher for captions of what the image shows; stored."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.arrays import Array
from captioner.captioning import word_regression
from captioner.captioning.checks import check_overrides
from captioner.captioning.familiarity import MIN_WIDTH, Familiarity, fit_familiarity
from captioner.captioning.load import captioner_of, ensemble_of, open_run
from captioner.captioning.word_regression import RIDGE, WordRegression, fit_word_regression
from captioner.data.corpus import Split
from captioner.data.prepared import prepared
from captioner.data.vocabulary import SPECIAL, Vocab
from captioner.errors import CheckpointError, ConfigError
from captioner.files import checkpoint
from captioner.training.resume import resume

NULL, START, END, UNK = range(4)
MAX_IMAGES = 90


def split_of(seed: int, count: int, words: int) -> tuple[Split, Vocab]:
    """Images with up to three captions, some without any; the words have directions in the features."""
    rng = np.random.default_rng(seed)
    image_idxs = np.repeat(np.arange(count, dtype=np.int32), rng.integers(0, 4, count))
    captions = np.zeros((len(image_idxs), 6), np.int32)
    features = 0.1 * rng.standard_normal((count, MIN_WIDTH))
    directions = np.random.default_rng(words).standard_normal((words, MIN_WIDTH))
    for row, image in enumerate(image_idxs):
        length = rng.integers(1, 5)
        ids = rng.integers(3, 4 + words, length)
        captions[row, : length + 2] = [START, *ids, END]
        features[image] += directions[ids[ids > UNK] - 4].sum(axis=0)
    names = [str(image) for image in range(count)]
    return Split(captions, image_idxs, features, names), Vocab([*SPECIAL, *(f"w{i}" for i in range(words))])


def expected_similarity(train: Split, vocab: Vocab, units: Array, tokens: Array, rank: int) -> Array:
    """The definition, with dense matrices in float64."""
    captioned = [image for image in range(len(train.features)) if train.caption_rows(image)]
    captioned = [captioned[i] for i in np.linspace(0, len(captioned) - 1, min(MAX_IMAGES, len(captioned))).astype(int)]
    references = [train.captions[train.caption_rows(image)] for image in captioned]
    having = np.array([sum((tokens == word).any() for tokens in references) for word in range(len(vocab))])
    idf = np.where((having > 0) & (np.arange(len(vocab)) > UNK), np.log(len(references) / np.maximum(having, 1)), 0)

    def unit(ids: Array) -> Array:
        row = np.bincount(ids, minlength=len(vocab)) * idf
        return row / (np.linalg.norm(row) or 1)

    targets = np.array([np.mean([unit(ids) for ids in captions], axis=0) for captions in references])
    of_images = units[captioned]
    gram = of_images.T @ of_images + RIDGE * np.eye(units.shape[1])
    products = of_images.T @ (targets - targets.mean(axis=0))
    _, _, directions = np.linalg.svd(np.linalg.solve(np.linalg.cholesky(gram), products))
    weights = np.linalg.solve(gram, products) @ directions[:rank].T @ directions[:rank]
    predicted = units @ weights + targets.mean(axis=0)
    return np.maximum([unit(ids) @ row for ids, row in zip(tokens, predicted, strict=True)], 0)


@settings(deadline=None, max_examples=10)
@given(
    seed=st.integers(0, 99), count=st.integers(100, 160), words=st.integers(2, 30), rank=st.sampled_from([1, 4, 128])
)
def test_the_similarity_equals_its_definition(seed: int, count: int, words: int, rank: int) -> None:
    train, vocab = split_of(seed, count, words)
    familiarity = Familiarity(**fit_familiarity(train.features))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_regression, "RANK", rank)
        patch.setattr(word_regression, "MAX_IMAGES", MAX_IMAGES)
        regression = WordRegression(**fit_word_regression(train, vocab, familiarity))
    assert len(regression.projection) <= rank
    units = familiarity.unit_rows(np.asarray(train.features))
    tokens = train.captions[np.random.default_rng(seed).integers(len(train.captions), size=count)]
    expected = expected_similarity(train, vocab, units.astype(float), tokens, rank)
    difference = np.abs(regression.similarity(units, tokens) - expected)
    assert difference.mean() < 1e-3
    assert rank < len(vocab) or difference.max() < 2e-3, "the subspace is found by iteration"
    padded = np.pad(tokens, ((0, 0), (0, 3)))
    np.testing.assert_array_equal(regression.similarity(units, padded), regression.similarity(units, tokens))


def test_no_word_of_the_references_has_no_similarity() -> None:
    train, vocab = split_of(0, 120, 5)
    familiarity = Familiarity(**fit_familiarity(train.features))
    regression = WordRegression(**fit_word_regression(train, vocab, familiarity))
    empty = np.array([[END, NULL], [UNK, END], [NULL, NULL]])
    units = familiarity.unit_rows(np.asarray(train.features[:3]))
    assert regression.similarity(units, empty).tolist() == [0, 0, 0]
    unlikely = regression._replace(bias=np.full_like(regression.bias, -9))
    assert unlikely.similarity(units, train.captions[:3]).tolist() == [0, 0, 0], "not below a threshold of 0"


def test_wide_features_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_regression, "MAX_WIDTH", MIN_WIDTH - 1)
    train, vocab = split_of(0, 120, 5)
    assert fit_word_regression(train, vocab, Familiarity(**fit_familiarity(train.features))) == {}


def test_a_run_stores_it_and_a_resumed_run_keeps_it(
    familiar_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = prepared(familiar_run.parent / "data.h5")
    saved = checkpoint.load(familiar_run / "last.h5")
    expected = fit_word_regression(corpus.split("train"), corpus.vocab, Familiarity(**saved.familiarity))
    assert saved.word_regression.keys() == expected.keys()
    assert all(np.array_equal(saved.word_regression[name], array) for name, array in expected.items())
    run = tmp_path / "run"
    shutil.copytree(familiar_run, run)
    monkeypatch.setattr("captioner.training.training.fit_word_regression", lambda *_: pytest.fail("computed again"))
    for _ in resume(run, {"train.max_steps": saved.meta.step + 1}):
        pass
    resumed = checkpoint.load(run / "last.h5").word_regression
    assert all(np.array_equal(resumed[name], array) for name, array in expected.items())


def test_captions_below_the_threshold_are_uncertain(familiar_run: Path) -> None:
    split = prepared(familiar_run.parent / "data.h5").split("val")

    def captions(threshold: float) -> list[Any]:
        return list(captioner_of(open_run(familiar_run, {"decode.uncertain_below": threshold})).caption_split(split))

    similarities = [caption.similarity for caption in captions(0)]
    assert all(0 < similarity < 1 for similarity in similarities)
    middle = float(np.median(similarities))
    assert [caption.marks.count("uncertain") for caption in captions(middle)] == [
        each < middle for each in similarities
    ]
    assert not any("uncertain" in caption.marks for caption in captions(0))


def test_models_without_it_cannot_be_asked_for_it(familiar_run: Path, tmp_path: Path) -> None:
    model = open_run(familiar_run)
    other = dataclasses.replace(model, meta=dataclasses.replace(model.meta, train_digest="other"))
    assert ensemble_of([model, model]).word_regression is model.word_regression
    assert ensemble_of([model, other]).word_regression is None
    file = tmp_path / "best.h5"
    checkpoint.save(file, dataclasses.replace(checkpoint.load(familiar_run / "best.h5"), word_regression={}))
    assert open_run(file).word_regression is None
    with pytest.raises(ConfigError, match=r"uncertain_below: has no effect: the models have different training splits"):
        check_overrides(ensemble_of([model, other]), {"decode.uncertain_below": 0.1})
    with pytest.raises(ConfigError, match=r"uncertain_below: has no effect: .* has no expected similarity"):
        check_overrides(open_run(file), {"decode.uncertain_below": 0.1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"words": None}, r"array word_regression/words: expected float16 \(\d+, \d+\), got nothing"),
        (
            {"projection": np.ones((2, 3), np.float16)},
            r"projection: expected float16 \(2, 1280\), got float16 \(2, 3\)",
        ),
        ({"idf": np.ones(5, np.float32)}, r"idf: expected float16"),
    ],
)
def test_damaged_arrays_are_reported(change: dict[str, Any], message: str, familiar_run: Path, tmp_path: Path) -> None:
    saved = checkpoint.load(familiar_run / "best.h5")
    arrays = {name: array for name, array in (saved.word_regression | change).items() if array is not None}
    checkpoint.save(tmp_path / "best.h5", dataclasses.replace(saved, word_regression=arrays))
    with pytest.raises(CheckpointError, match=message):
        open_run(tmp_path / "best.h5")
