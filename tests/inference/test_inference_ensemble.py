"""Several models speak as one when they belong together, and are rejected by name when they do not."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from captioning import best_captions

from captioner.decode import Ensemble
from captioner.errors import CheckpointError
from captioner.evaluation.scoring import evaluation_set, score_model
from captioner.inference.captions import caption_split
from captioner.inference.ensemble import ensemble_of
from captioner.inference.load import captioner_of, open_corpus, open_runs
from captioner.inference.restore import Restored, restore
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.parameters import Sizes
from captioner.text.vocabulary import Vocab


@pytest.fixture(scope="module")
def members(tiny_run: Path) -> list[Restored]:
    """Three models of random parameters, other cells, sizes and precisions, as if restored from a.h5, b.h5, c.h5."""
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


def test_an_ensemble_of_one_is_the_model(members: list[Restored]) -> None:
    assert ensemble_of(members[:1]) is members[0]


def test_an_ensemble_has_the_options_of_its_first_model(members: list[Restored]) -> None:
    speaker = ensemble_of(members)
    assert (speaker.path, speaker.config, speaker.vocab, speaker.meta) == (
        members[0].path, members[0].config, members[0].vocab, members[0].meta
    )  # fmt: skip
    assert isinstance(speaker.model, Ensemble)
    assert speaker.model.members == tuple(one.model for one in members)


@pytest.mark.parametrize("override", [{}, {"beam_width": 3}, {"method": "sampling"}])
def test_ensemble_log_probability_is_that_of_the_mean_probability(
    override: dict[str, object], members: list[Restored]
) -> None:
    first = members[0]
    config = dataclasses.replace(first.config, decode=dataclasses.replace(first.config.decode, **override))
    members = [dataclasses.replace(first, config=config), *members[1:]]
    val = open_corpus(first).split("val")
    told = list(captioner_of(ensemble_of(members)).candidates(val.features, 2))
    assert [caption for caption, _ in best_captions(members, val.features)] != [
        caption for caption, _ in best_captions(members[0], val.features)
    ]
    for row, found in enumerate(told):
        for caption, log_prob in found:
            words = caption.split()
            (ids,) = first.vocab.encode([words])
            reference = ids[None, : None if len(words) < 6 else -1]
            losses = ensemble_of(members).model.word_losses(val.features[row : row + 1], reference)
            assert log_prob == pytest.approx(-losses.sum(dtype=float), rel=1e-5)


def test_an_ensemble_captions_and_scores_a_split(members: list[Restored]) -> None:
    speaker, val = ensemble_of(members), open_corpus(ensemble_of(members)).split("val")
    captions = [caption.text for caption in caption_split(captioner_of(speaker), val)]
    corpus = open_corpus(speaker)
    measured = score_model(captioner_of(speaker), corpus, "val", *evaluation_set(corpus, "val")).scores
    losses = [one.model.word_losses(val.features[val.image_idxs], val.captions) for one in members]
    assert measured["loss"] == pytest.approx(
        -np.log(np.mean(np.exp([-one for one in losses]), axis=0)).mean(), rel=1e-5
    )
    assert measured["distinct"] == len(set(captions))
    assert measured["loss"] < max(one.mean() for one in losses)


def other(members: list[Restored], **meta: object) -> list[Restored]:
    return [*members[:2], dataclasses.replace(members[2], meta=dataclasses.replace(members[2].meta, **meta))]


def test_an_ensemble_rejects_another_vocabulary(members: list[Restored]) -> None:
    words = members[0].vocab.words
    strange = dataclasses.replace(members[1], vocab=Vocab([*words[:9], "xylophone", *words[10:]]))
    with pytest.raises(
        CheckpointError,
        match=rf"^b.h5: vocabulary: expected the {len(words)} words of a.h5, got {len(words)} words, different from "
        "id 9 on; an ensemble needs one shared vocabulary$",
    ):
        ensemble_of([members[0], strange])


def test_an_ensemble_rejects_another_encoder_or_width(members: list[Restored]) -> None:
    encoder = members[0].meta.encoder
    with pytest.raises(
        CheckpointError,
        match=f"^c.h5: features: expected encoder {encoder} as in a.h5, got scenes-0; an ensemble needs one",
    ):
        ensemble_of(other(members, encoder="scenes-0"))
    with pytest.raises(
        CheckpointError, match=r"^c.h5: features: expected \d+ numbers per image, got 9; a.h5 was train"
    ):
        ensemble_of(other(members, feature_dim=9))


def test_several_runs_load_as_an_ensemble(tiny_run: Path) -> None:
    speaker = open_runs([tiny_run, tiny_run / "last.h5"], ["decode.max_length=3"])
    assert (speaker.path, speaker.config.decode.max_length) == (tiny_run / "best.h5", 3)
    assert isinstance(speaker.model, Ensemble)
    assert isinstance(open_runs([tiny_run]), Restored)
