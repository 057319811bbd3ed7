"""Captioners of one run or several: the order of their candidates, and parts that must match."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from captioned_rows import best_captions, candidates, loss

from captioner.api import load as load_captioner
from captioner.arrays import Batch
from captioner.captioning import load as load_module
from captioner.captioning.captioner import Captioner
from captioner.captioning.find_checkpoint import DEFAULT_MODEL
from captioner.captioning.load import ensemble_of, open_corpus, open_run
from captioner.captioning.saved_model import SavedModel, open_checkpoint
from captioner.config.overrides import read_overrides
from captioner.config.yaml_io import parse
from captioner.data.corpus import Split
from captioner.data.vocabulary import Vocab
from captioner.errors import CheckpointError
from captioner.files import checkpoint
from captioner.model.build import parameter_shapes
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.parameters import Sizes

WEIGHT = 30.0


@pytest.fixture(scope="module")
def beam_model(varied_model: SavedModel) -> SavedModel:
    """A model whose candidates differ, with a beam of 6."""
    decode = dataclasses.replace(varied_model.config.decode, beam_width=6)
    return dataclasses.replace(varied_model, config=dataclasses.replace(varied_model.config, decode=decode))


def test_candidates_are_ordered_by_log_probability_and_expected_similarity(
    beam_model: SavedModel, val_split: Split
) -> None:
    captioner, summary, most = Captioner(beam_model), beam_model.summary, beam_model.config.decode.max_length
    assert summary is not None
    plain = candidates(captioner, val_split.features, 6)
    ranked = candidates(captioner.with_options({"decode.similarity_weight": WEIGHT}), val_split.features, 6)
    assert ranked != plain
    for row, (before, after) in enumerate(zip(plain, ranked, strict=True)):
        tokens = beam_model.vocab.encode([text.split() for text, _ in before])[:, 1 : most + 1]
        scores = WEIGHT * summary.regression.similarity(tokens[None], summary.shares(val_split.features[[row]]))[0]
        totals = [log_prob + score for (_, log_prob), score in zip(before, scores, strict=True)]
        twice = summary.regression.names_twice(tokens)
        assert after == [before[place] for place in sorted(range(6), key=lambda n: (twice[n], -totals[n]))]


def test_guidance_changes_the_candidates_but_not_their_log_probabilities(
    beam_model: SavedModel, val_split: Split
) -> None:
    captioner, vocab, features = Captioner(beam_model), beam_model.vocab, val_split.features[:4]
    summary = beam_model.summary
    assert summary is not None
    bonus = summary.regression.guidance(summary.shares(features), 1.0)
    words, gains = [], []
    for weight in (0.0, WEIGHT):
        images = candidates(captioner.with_options({"decode.guidance_weight": weight}), features, 6)
        words.append([{word for text, _ in image for word in text.split()} for image in images])
        pairs = zip(bonus, words[-1], strict=True)
        gains.append(np.mean([sum(row[vocab.word_to_idx[word]] for word in image) for row, image in pairs]))
        for feature, image in zip(features, images, strict=True):
            for text, log_prob in image:
                if len(text.split()) < beam_model.config.decode.max_length:  # otherwise without <END>
                    losses = captioner.loaded.model.word_losses(Batch(feature[None], vocab.encode([text.split()])))
                    assert log_prob == pytest.approx(-losses.sum(), rel=1e-5)
    assert words[0] != words[1]
    assert gains[1] > gains[0]


def test_without_a_summary_there_is_one_warning(
    beam_model: SavedModel, own_run: Path, cli: Callable[..., Any], val_split: Split
) -> None:
    path = own_run / "best.h5"
    saved = checkpoint.load(path)
    saved.meta.config.update({"decode.similarity_weight": 1.0, "decode.guidance_weight": 1.0, "decode.beam_width": 2})
    checkpoint.save(path, dataclasses.replace(saved, summary={}))
    warning = (
        f"captions are ranked by log-probability alone: {path} has no training summary; captioner export {path} "
        "--data FILE --output NEW.h5 adds it"
    )
    with pytest.warns(UserWarning, match="alone") as caught:
        captioner = load_captioner(own_run)
    assert [str(record.message) for record in caught] == [warning]
    assert Path(caught[0].filename) == Path(__file__)
    plain = Captioner(open_run(own_run, {"decode.similarity_weight": 0.0, "decode.guidance_weight": 0.0}))
    assert plain.warnings == ()
    captions = captioner.caption(features=val_split.features[:])
    assert captions == plain.caption(features=val_split.features[:])
    assert (captions[0].familiarity, captions[0].similarity, captions[0].keywords) == (None, None, ())
    done = cli("sample", own_run, "-n", 1)
    assert (done.code, done.err) == (0, f"captioner: warning: {warning}\n")


def test_without_a_run_the_default_model_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_captioner().loaded.path == DEFAULT_MODEL
    missing = tmp_path / "everyday.h5"
    monkeypatch.setattr(load_module, "DEFAULT_MODEL", missing)
    with pytest.raises(CheckpointError, match=f"^{missing}: the default model is missing; install captioner again"):
        open_run(missing)


def test_a_run_that_was_not_due_for_validation_has_no_warning(own_run: Path) -> None:
    (own_run / "best.h5").unlink()
    assert open_run(own_run).warnings == (f"{own_run}: no best.h5; using last.h5 (step 8)",)
    assert open_run(own_run / "last.h5").warnings == ()
    ensemble = ensemble_of([open_run(own_run), open_run(own_run)])
    assert Captioner(ensemble).warnings == open_run(own_run).warnings * 2
    saved = checkpoint.load(own_run / "last.h5")
    checkpoint.save(own_run / "last.h5", dataclasses.replace(saved, meta=dataclasses.replace(saved.meta, best=None)))
    assert open_run(own_run).warnings == ()


def test_the_training_digest_respects_max_train(small: tuple[str, ...], tmp_path: Path) -> None:
    from captioner.training.train import train

    config = parse("", "", read_overrides([*small, "data.max_train=30", "train.max_steps=1"]))
    for _ in train(config, tmp_path / "run"):
        pass
    restored = open_run(tmp_path / "run")
    corpus = open_corpus(restored)
    assert restored.meta.train_digest == corpus.train_digest
    assert restored.summary is not None
    assert restored.summary.regression.images == len(corpus.split("train").captioned_images) < 30


@pytest.fixture(scope="module")
def models(tiny_run: Path) -> list[SavedModel]:
    """Three random models of different cells, sizes and precisions, as if restored from a.h5, b.h5, c.h5."""
    tiny, models = open_checkpoint(tiny_run / "best.h5", {"decode.max_length": 6}), []
    kinds = [("a", "rnn", 5, "float32"), ("b", "lstm", 8, "float64"), ("c", "lstm", 16, "float32")]
    for seed, (name, cell, hidden, dtype) in enumerate(kinds):
        sizes, rng = Sizes(len(tiny.vocab), tiny.meta.feature_dim, 4, hidden, cell), np.random.default_rng(seed)
        params = {name: rng.standard_normal(shape).astype(dtype) for name, shape in parameter_shapes(sizes).items()}
        params["b_vocab"][tiny.vocab.end] += 3
        model = CaptioningRNN(sizes, params, tiny.vocab.null)
        models.append(dataclasses.replace(tiny, path=Path(f"{name}.h5"), model=model))
    return models


@pytest.mark.parametrize("override", [{}, {"beam_width": 3}, {"method": "sampling"}])
def test_ensemble_log_probability_is_that_of_the_mean_probability(
    override: dict[str, object], models: list[SavedModel]
) -> None:
    first = models[0]
    config = dataclasses.replace(first.config, decode=dataclasses.replace(first.config.decode, **override))
    models = [dataclasses.replace(first, config=config), *models[1:]]
    val = open_corpus(first).split("val")
    several = candidates(Captioner(ensemble_of(models)), val.features, 2)
    assert [captions[0].text for captions in several] != [text for text, _ in best_captions(models[0], val.features)]
    for row, captions in enumerate(several):
        assert captions == sorted(captions, key=lambda caption: -caption.log_prob)
        for caption, log_prob in captions:
            assert log_prob == pytest.approx(-loss(ensemble_of(models), val, row, caption), rel=1e-5)


def test_models_of_an_ensemble_must_match(models: list[SavedModel]) -> None:
    *others, last = models
    words = last.vocab.words
    for changes, problem in (
        ({"vocab": Vocab([*words[:9], "xylophone", *words[10:]])}, "vocabulary: .* different from id 9 on; "),
        ({"meta": dataclasses.replace(last.meta, encoder="scenes-0")}, "features: expected encoder .*, got scenes-0; "),
        ({"meta": dataclasses.replace(last.meta, feature_dim=9)}, "features: expected .*, got 9; "),
    ):
        with pytest.raises(CheckpointError, match=rf"^c\.h5: {problem}"):
            ensemble_of([*others, dataclasses.replace(last, **changes)])
