"""Ensembles: predictions are averaged, and models that do not match are rejected."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from captioning import best_captions, candidates

from captioner.decode import Ensemble
from captioner.errors import CheckpointError
from captioner.evaluation.score_model import build_evaluation_set, score_model
from captioner.inference.caption_features import caption_split
from captioner.inference.load import captioner_of, ensemble_of, open_corpus, open_runs
from captioner.inference.restore import Restored, restore
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.parameters import Sizes
from captioner.text.vocabulary import Vocab


@pytest.fixture(scope="module")
def models(tiny_run: Path) -> list[Restored]:
    """Three random models of different cells, sizes and precisions, as if restored from a.h5, b.h5, c.h5."""
    tiny, found = restore(tiny_run / "best.h5", ["decode.max_length=6"]), []
    for seed, (name, cell, hidden, dtype) in enumerate(
        [("a", "rnn", 5, "float32"), ("b", "lstm", 8, "float64"), ("c", "lstm", 16, "float32")]
    ):
        sizes, rng = Sizes(len(tiny.vocab), tiny.meta.feature_dim, 4, hidden, cell), np.random.default_rng(seed)
        params = {name: rng.standard_normal(shape).astype(dtype) for name, shape in sizes.shapes().items()}
        params["b_vocab"][tiny.vocab.end] += 3
        model = CaptioningRNN(sizes, params, tiny.vocab.null)
        found.append(dataclasses.replace(tiny, path=Path(f"{name}.h5"), model=model))
    return found


def test_an_ensemble_of_one_is_the_model(models: list[Restored]) -> None:
    assert ensemble_of(models[:1]) is models[0]


def test_an_ensemble_has_the_options_of_its_first_model(models: list[Restored]) -> None:
    ensemble = ensemble_of(models)
    assert (ensemble.path, ensemble.config, ensemble.vocab, ensemble.meta) == (
        models[0].path, models[0].config, models[0].vocab, models[0].meta
    )  # fmt: skip
    assert isinstance(ensemble.model, Ensemble)
    assert ensemble.model.members == tuple(one.model for one in models)


@pytest.mark.parametrize("override", [{}, {"beam_width": 3}, {"method": "sampling"}])
def test_ensemble_log_probability_is_that_of_the_mean_probability(
    override: dict[str, object], models: list[Restored]
) -> None:
    first = models[0]
    config = dataclasses.replace(first.config, decode=dataclasses.replace(first.config.decode, **override))
    models = [dataclasses.replace(first, config=config), *models[1:]]
    val = open_corpus(first).split("val")
    several = candidates(captioner_of(ensemble_of(models)), val.features, 2)
    assert [caption for caption, _ in best_captions(models, val.features)] != [
        caption for caption, _ in best_captions(models[0], val.features)
    ]
    for row, found in enumerate(several):
        for caption, log_prob in found:
            words = caption.split()
            (ids,) = first.vocab.encode([words])
            reference = ids[None, : None if len(words) < 6 else -1]
            losses = ensemble_of(models).model.word_losses(val.features[row : row + 1], reference)
            assert log_prob == pytest.approx(-losses.sum(dtype=float), rel=1e-5)


def test_an_ensemble_captions_and_scores_a_split(models: list[Restored]) -> None:
    ensemble, val = ensemble_of(models), open_corpus(ensemble_of(models)).split("val")
    captions = [caption.text for caption in caption_split(captioner_of(ensemble), val)]
    corpus = open_corpus(ensemble)
    measured = score_model(captioner_of(ensemble), corpus, "val", *build_evaluation_set(corpus, "val")).scores
    losses = [one.model.word_losses(val.features[val.image_idxs], val.captions) for one in models]
    assert measured["loss"] == pytest.approx(
        -np.log(np.mean(np.exp([-one for one in losses]), axis=0)).mean(), rel=1e-5
    )
    assert measured["distinct"] == len(set(captions))
    assert measured["loss"] < max(one.mean() for one in losses)


def with_other_meta(models: list[Restored], **meta: object) -> list[Restored]:
    return [*models[:2], dataclasses.replace(models[2], meta=dataclasses.replace(models[2].meta, **meta))]


def test_an_ensemble_rejects_another_vocabulary(models: list[Restored]) -> None:
    words = models[0].vocab.words
    mismatched = dataclasses.replace(models[1], vocab=Vocab([*words[:9], "xylophone", *words[10:]]))
    with pytest.raises(
        CheckpointError,
        match=rf"^b.h5: vocabulary: expected the {len(words)} words of a.h5, got {len(words)} words, different from "
        "id 9 on; an ensemble needs one shared vocabulary$",
    ):
        ensemble_of([models[0], mismatched])


def test_an_ensemble_rejects_another_encoder_or_width(models: list[Restored]) -> None:
    encoder = models[0].meta.encoder
    with pytest.raises(
        CheckpointError,
        match=f"^c.h5: features: expected encoder {encoder} as in a.h5, got scenes-0; an ensemble needs one",
    ):
        ensemble_of(with_other_meta(models, encoder="scenes-0"))
    with pytest.raises(
        CheckpointError, match=r"^c.h5: features: expected \d+ numbers per image, got 9; a.h5 was train"
    ):
        ensemble_of(with_other_meta(models, feature_dim=9))


def test_several_runs_load_as_an_ensemble(tiny_run: Path) -> None:
    ensemble = open_runs([tiny_run, tiny_run / "last.h5"], ["decode.max_length=3"])
    assert (ensemble.path, ensemble.config.decode.max_length) == (tiny_run / "best.h5", 3)
    assert isinstance(ensemble.model, Ensemble)
    assert isinstance(open_runs([tiny_run]), Restored)
