"""Several models speak as one when they belong together, and are refused by name when they do not."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from captioner.decode import Ensemble
from captioner.errors import CheckpointError
from captioner.evaluation.scoring import judge_model, task_of
from captioner.inference.captions import caption_split, describe, open_captioner, open_corpus, open_runs
from captioner.inference.ensemble import together
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


def test_one_stays_as_it_is(members: list[Restored]) -> None:
    assert together(members[0]) is members[0]
    assert together(members[:1]) is members[0]


def test_several_have_the_options_of_the_first(members: list[Restored]) -> None:
    speaker = together(members)
    assert (speaker.path, speaker.config, speaker.vocab, speaker.meta) == (
        members[0].path, members[0].config, members[0].vocab, members[0].meta
    )  # fmt: skip
    assert isinstance(speaker.model, Ensemble)
    assert speaker.model.members == tuple(one.model for one in members)


@pytest.mark.parametrize("override", [{}, {"beam": 3}, {"method": "sampling"}])
def test_a_list_is_captioned_with_the_log_probability_of_the_mean(
    override: dict[str, object], members: list[Restored]
) -> None:
    first = members[0]
    config = dataclasses.replace(first.config, decode=dataclasses.replace(first.config.decode, **override))
    members = [dataclasses.replace(first, config=config), *members[1:]]
    val = open_corpus(first).split("val")
    told = list(open_captioner(members).caption(val.features, 2))
    assert told == list(open_captioner(together(members)).caption(val.features, 2))
    assert [caption for caption, _ in describe(members, val.features)] != [
        caption for caption, _ in describe(members[0], val.features)
    ]
    for row, found in enumerate(told):
        for caption, log_prob in found:
            words = caption.split()
            (ids,) = first.vocab.encode([words])
            reference = ids[None, : None if len(words) < 6 else -1]
            losses = together(members).model.word_losses(val.features[row : row + 1], reference)
            assert log_prob == pytest.approx(-losses.sum(dtype=float), rel=1e-5)


def test_splits_are_captioned_and_scored_together(members: list[Restored]) -> None:
    speaker, val = together(members), open_corpus(together(members)).split("val")
    captions = [caption.caption for caption in caption_split(open_captioner(speaker), val)]
    corpus = open_corpus(speaker)
    measured = judge_model(open_captioner(speaker), corpus, "val", *task_of(corpus, "val")).figures
    losses = [one.model.word_losses(val.features[val.image_idxs], val.captions) for one in members]
    assert measured["loss"] == pytest.approx(
        -np.log(np.mean(np.exp([-one for one in losses]), axis=0)).mean(), rel=1e-5
    )
    assert measured["distinct"] == len(set(captions))
    assert measured["loss"] < max(one.mean() for one in losses)


def other(members: list[Restored], **meta: object) -> list[Restored]:
    return [*members[:2], dataclasses.replace(members[2], meta=dataclasses.replace(members[2].meta, **meta))]


def test_another_vocabulary_is_refused_by_name(members: list[Restored]) -> None:
    words = members[0].vocab.words
    strange = dataclasses.replace(members[1], vocab=Vocab([*words[:9], "xylophone", *words[10:]]))
    with pytest.raises(
        CheckpointError,
        match=rf"^b.h5: vocabulary: expected the {len(words)} words of a.h5, got {len(words)} words that differ from "
        "id 9 on; models with one vocabulary speak together$",
    ):
        together([members[0], strange])


def test_another_encoder_or_width_is_refused_by_name(members: list[Restored]) -> None:
    encoder = members[0].meta.encoder
    with pytest.raises(
        CheckpointError,
        match=f"^c.h5: features: expected those of encoder {encoder} as in a.h5, got scenes-0; models of one encoder",
    ):
        together(other(members, encoder="scenes-0"))
    with pytest.raises(CheckpointError, match=r"^c.h5: features: expected \d+ numbers an image, got 9; a.h5 was train"):
        together(other(members, feature_dim=9))


def test_runs_are_opened_together(tiny_run: Path) -> None:
    speaker = open_runs([tiny_run, tiny_run / "last.h5"], ["decode.max_length=3"])
    assert (speaker.path, speaker.config.decode.max_length) == (tiny_run / "best.h5", 3)
    assert isinstance(speaker.model, Ensemble)
    assert isinstance(open_runs([tiny_run]), Restored)
