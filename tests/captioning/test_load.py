"""Captioners of one run or several: their re-ranker, and parts that must match."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from captioned_rows import best_captions, candidates, loss

from captioner.captioning.captioner import Captioner
from captioner.captioning.find_checkpoint import RERANKER
from captioner.captioning.load import captioner_of, ensemble_of, open_corpus, open_run, open_runs
from captioner.captioning.load import load as load_captioner
from captioner.captioning.reranker_index import Index, current_index, read_index, write_index
from captioner.captioning.restore import Restored, restore
from captioner.config.overrides import read_overrides
from captioner.config.yaml_io import parse
from captioner.data.corpus import Corpus
from captioner.data.vocabulary import Vocab
from captioner.errors import CheckpointError, ConfigError, DataError
from captioner.evaluation.evaluate import build_evaluation_set, score_model
from captioner.files import checkpoint
from captioner.files.header import RERANKING_INDEX
from captioner.model.build import parameter_shapes
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.ensemble import Ensemble
from captioner.model.parameters import Sizes

RERANKING = ("decode.beam_width=6", "decode.consensus=300")


def without_reranking(restored: Restored, **changes: object) -> Restored:
    decode = dataclasses.replace(restored.config.decode, **{"consensus": 0.0, **changes})
    return dataclasses.replace(restored, config=dataclasses.replace(restored.config, decode=decode))


def captions(restored: Restored, corpus: Corpus) -> list[Any]:
    return candidates(captioner_of(restored), corpus.split("val").features, 6)


def test_candidates_are_ordered_by_consensus_score(reranked_run: Restored, corpus: Corpus, index: Index) -> None:
    val, vocab, most = corpus.split("val"), reranked_run.vocab, reranked_run.config.decode.max_length
    ranked = candidates(captioner_of(reranked_run, corpus), val.features, 6)
    plain = candidates(captioner_of(without_reranking(reranked_run)), val.features, 6)
    assert ranked != plain
    for row, (before, after) in enumerate(zip(plain, ranked, strict=True)):
        tokens = [vocab.encode([text.split()])[0, 1:].tolist() for text, _ in before]
        cut = [words[:-1] if len(words) > most else words for words in tokens]
        reranker = index.reranker()
        (expected,) = reranker.expected_cider(reranker.weights(val.features[[row]]), [cut])
        totals = [log_prob + 300 * cider for (_, log_prob), cider in zip(before, expected, strict=True)]
        assert after == [before[place] for place in sorted(range(6), key=lambda place: -totals[place])]
    assert captions(reranked_run, corpus) == ranked, "the data set is found without being given"


@pytest.mark.parametrize("is_ensemble", [False, True])
def test_guidance_changes_the_candidates_but_not_their_log_probabilities(
    reranked_run: Restored, corpus: Corpus, index: Index, is_ensemble: bool
) -> None:
    config = reranked_run.config
    guided = dataclasses.replace(config, decode=dataclasses.replace(config.decode, guidance=30.0))
    models = [dataclasses.replace(reranked_run, config=guided)]
    if is_ensemble:
        params = {name: 0.9 * w for name, w in reranked_run.model.params.items()}
        models.append(dataclasses.replace(models[0], model=CaptioningRNN(models[0].model.sizes, params)))
    features = corpus.split("val").features[:4]
    captioner = Captioner(ensemble_of(models), index.reranker())
    words: list[list[set[str]]] = []
    for guidance in (config.decode.guidance, 30.0):
        images = candidates(captioner.with_options({"decode.guidance": guidance}), features, 6)
        words.append([{word for text, _ in image for word in text.split()} for image in images])
        for feature, image in zip(features, images, strict=True):
            for text, log_prob in image:
                if len(text.split()) < config.decode.max_length:  # otherwise without <END>
                    tokens = corpus.vocab.encode([text.split()])
                    losses = captioner.loaded.model.word_losses(feature[None], tokens)
                    assert log_prob == pytest.approx(-losses.sum(), rel=1e-5)
    assert words[0] != words[1]
    tfidf = index.reranker().expected_tfidf(index.reranker().weights(features), len(corpus.vocab))
    gains = [
        [sum(row[corpus.vocab.word_to_idx[word]] for word in image) for row, image in zip(tfidf, way, strict=True)]
        for way in words
    ]
    assert np.mean(gains[1]) > np.mean(gains[0])


def test_the_index_replaces_the_data_set(
    reranked_run: Restored, corpus: Corpus, index: Index, inversions: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(os.listdir(reranked_run.path.parent))
    inversions.clear()
    expected = captions(reranked_run, corpus)
    assert inversions == [40]
    assert sorted(os.listdir(reranked_run.path.parent)) == before, "captioning writes nothing into the run folder"
    write_index(reranked_run.path.parent / RERANKER, index)
    monkeypatch.setattr("captioner.captioning.load.open_corpus", None)
    assert captions(reranked_run, corpus) == expected, "to the bit"
    assert captioner_of(reranked_run, corpus).warnings == ()
    assert inversions == [40]


def test_an_ensemble_uses_the_index_of_its_first_run(reranked_run: Restored, corpus: Corpus, index: Index) -> None:
    other = dataclasses.replace(reranked_run, path=reranked_run.path.parent / "elsewhere" / "best.h5")
    features, both = corpus.split("val").features, ensemble_of([reranked_run, other])
    expected = candidates(captioner_of(both, corpus), features, 6)
    write_index(reranked_run.path.parent / RERANKER, index)
    other.path.parent.mkdir()
    (other.path.parent / RERANKER).write_bytes(b"damaged")
    assert candidates(captioner_of(both), features, 6) == expected
    with pytest.raises(DataError, match=r"elsewhere/reranker\.h5"):
        captioner_of(ensemble_of([other, reranked_run]))


def test_without_index_and_data_set_there_is_a_warning(coco_run: Path, tmp_path: Path) -> None:
    root, saved = tmp_path / "gone", checkpoint.load(coco_run / "best.h5")
    saved.meta.config.update({"decode.consensus": 1.0, "decode.beam_width": 2, "decode.length_penalty": 0.5})
    checkpoint.save(tmp_path / "best.h5", saved)
    moved = open_run(tmp_path, {"data.root": root})
    features = np.zeros((1, moved.meta.feature_dim), np.float32)
    captioner = captioner_of(moved)
    warning = (
        f"decode.consensus: neither {tmp_path}/reranker.h5 nor the data set {root} was found, so captions are "
        "ranked by log-probability / length^0.5 alone; try -o data.root=FILE, or -o decode.consensus=0"
    )
    assert captioner.warnings == (warning,)
    plain = candidates(captioner_of(without_reranking(moved)), features, 2)
    assert candidates(captioner, features, 2) == plain
    with pytest.warns(UserWarning, match="neither") as caught:
        loaded = load_captioner(tmp_path, {"data.root": root})
    assert [str(record.message) for record in caught] == [warning]
    assert Path(caught[0].filename) == Path(__file__)
    assert [caption.text for caption in loaded.caption(features=features)] == [plain[0][0].text]
    assert captioner_of(without_reranking(moved)).warnings == ()
    for path in ("decode.consensus", "decode.guidance"):
        with pytest.raises(ConfigError, match=rf"^{path}: has no effect: neither .* was found; try -o data.root=FILE"):
            load_captioner(tmp_path, {"data.root": root, path: 9})
        with pytest.raises(ConfigError, match="without a re-ranking index"):
            captioner.with_options({path: 9})


def test_a_run_that_was_not_due_for_validation_has_no_warning(own_run: Path) -> None:
    (own_run / "best.h5").unlink()
    assert open_run(own_run).warnings == (f"{own_run}: no best.h5; using last.h5 (step 8)",)
    assert open_run(own_run / "last.h5").warnings == ()
    ensemble = ensemble_of([open_run(own_run), open_run(own_run)])
    assert captioner_of(ensemble).warnings == open_run(own_run).warnings * 2
    saved = checkpoint.load(own_run / "last.h5")
    checkpoint.save(own_run / "last.h5", dataclasses.replace(saved, meta=dataclasses.replace(saved.meta, best=None)))
    assert open_run(own_run).warnings == ()


# --- damaged or mismatched index


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "text": lambda whole: b"no index",
    "cut short": lambda whole: whole[:-1],
    "in the header": lambda whole: whole[:20] + b"x" + whole[21:],
    "in the numbers": lambda whole: whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:],
    "another version": lambda whole: whole.replace(RERANKING_INDEX.magic + b" 2 ", RERANKING_INDEX.magic + b" 1 "),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_index_is_one_error_line(damage: str, reranked_run: Restored, corpus: Corpus, index: Index) -> None:
    path = reranked_run.path.parent / RERANKER
    write_index(path, index)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(DataError) as caught:
        captioner_of(reranked_run, corpus)
    assert str(caught.value).startswith(f"decode.consensus: {path}: ")
    assert str(caught.value).endswith("; or -o decode.consensus=0")
    assert "\n" not in str(caught.value)
    assert not current_index(path, corpus)
    assert captioner_of(without_reranking(reranked_run), corpus).reranker is None


def test_a_checkpoint_or_a_broken_link_is_not_an_index(reranked_run: Restored, corpus: Corpus) -> None:
    path = reranked_run.path.parent / RERANKER
    path.write_bytes(reranked_run.path.read_bytes())
    with pytest.raises(DataError, match="not a captioner re-ranking index, got a file of an unknown format; expected"):
        captioner_of(reranked_run, corpus)
    path.unlink()
    path.symlink_to("nowhere")
    with pytest.raises(DataError, match=r"not found; expected a re-ranking index .*; it is a broken link to nowhere"):
        captioner_of(reranked_run, corpus)


MISMATCHES = {
    "encoder": {"encoder": "scenes-0"},
    "training split": {"train_digest": "0"},
    "feature width": {},
}


@pytest.mark.parametrize("what", MISMATCHES)
def test_an_index_of_another_run_is_rejected(what: str, reranked_run: Restored, corpus: Corpus, index: Index) -> None:
    path, arrays = reranked_run.path.parent / RERANKER, dict(index.arrays)
    if what == "feature width":
        arrays |= {name: arrays[name][..., 1:] for name in ("directions", "mean", "std")}
    write_index(path, dataclasses.replace(index, arrays=arrays, **MISMATCHES[what]))
    assert bool(current_index(path, corpus)) is (what == "feature width"), (
        "which no data set of that training split has"
    )
    with pytest.raises(DataError) as caught:
        captioner_of(reranked_run, corpus)
    assert str(caught.value) == (
        f"decode.consensus: {path}: expected the {what} of {reranked_run.path}, got that of another run; "
        "delete the file; or -o decode.consensus=0"
    )


# --- training data set


def test_a_data_set_that_gained_a_split_is_accepted(reranked_run: Restored, corpus: Corpus) -> None:
    more = dataclasses.replace(corpus, splits={**corpus.splits, "extra": corpus.split("val")})
    assert more.digest != corpus.digest
    val = corpus.split("val").features
    assert candidates(captioner_of(reranked_run, more), val) == candidates(captioner_of(reranked_run, corpus), val)


def test_a_data_set_with_other_training_captions_is_rejected(reranked_run: Restored, corpus: Corpus) -> None:
    train = corpus.split("train")
    swapped = dataclasses.replace(train, captions=train.captions[::-1].copy())
    other = dataclasses.replace(corpus, splits={**corpus.splits, "train": swapped})
    with pytest.raises(DataError) as caught:
        captioner_of(reranked_run, other)
    assert str(caught.value) == (
        f"decode.consensus: scenes: training split: expected the captions that {reranked_run.path} was trained on, "
        "got others; use the training data set; or -o decode.consensus=0"
    )
    assert captioner_of(without_reranking(reranked_run), other).reranker is None


def test_a_data_set_with_another_vocabulary_is_rejected_for_reranking(reranked_run: Restored, coco_run: Path) -> None:
    mixed = dataclasses.replace(reranked_run, vocab=open_run(coco_run).vocab)
    with pytest.raises(DataError, match=r"^decode.consensus: .* vocabulary: expected .*; or -o decode.consensus=0$"):
        captioner_of(mixed)


def test_the_training_digest_respects_max_train(small: tuple[str, ...], tmp_path: Path) -> None:
    from captioner.training.train import train

    config = parse("", "", read_overrides([*small, *RERANKING, "data.max_train=30", "train.max_steps=1"]))
    for _ in train(config, tmp_path / "run"):
        pass
    restored = open_run(tmp_path / "run")
    assert restored.meta.train_digest == open_corpus(restored).train_digest
    assert len(read_index(tmp_path / "run" / RERANKER).arrays["lengths"]) == 30


@pytest.fixture(scope="module")
def models(tiny_run: Path) -> list[Restored]:
    """Three random models of different cells, sizes and precisions, as if restored from a.h5, b.h5, c.h5."""
    tiny, models = restore(tiny_run / "best.h5", {"decode.max_length": 6}), []
    kinds = [("a", "rnn", 5, "float32"), ("b", "lstm", 8, "float64"), ("c", "lstm", 16, "float32")]
    for seed, (name, cell, hidden, dtype) in enumerate(kinds):
        sizes, rng = Sizes(len(tiny.vocab), tiny.meta.feature_dim, 4, hidden, cell), np.random.default_rng(seed)
        params = {name: rng.standard_normal(shape).astype(dtype) for name, shape in parameter_shapes(sizes).items()}
        params["b_vocab"][tiny.vocab.end] += 3
        model = CaptioningRNN(sizes, params, tiny.vocab.null)
        models.append(dataclasses.replace(tiny, path=Path(f"{name}.h5"), model=model))
    return models


def test_an_ensemble_has_the_options_of_its_first_model(models: list[Restored]) -> None:
    ensemble, first = ensemble_of(models), models[0]
    for name in ("path", "config", "vocab", "meta"):
        assert getattr(ensemble, name) is getattr(first, name)
    assert isinstance(ensemble.model, Ensemble)
    assert ensemble.model.members == tuple(restored.model for restored in models)
    assert ensemble_of([first]) is first


@pytest.mark.parametrize("override", [{}, {"beam_width": 3}, {"method": "sampling"}])
def test_ensemble_log_probability_is_that_of_the_mean_probability(
    override: dict[str, object], models: list[Restored]
) -> None:
    first = models[0]
    config = dataclasses.replace(first.config, decode=dataclasses.replace(first.config.decode, **override))
    models = [dataclasses.replace(first, config=config), *models[1:]]
    val = open_corpus(first).split("val")
    several = candidates(captioner_of(ensemble_of(models)), val.features, 2)
    assert [captions[0].text for captions in several] != [text for text, _ in best_captions(models[0], val.features)]
    for row, captions in enumerate(several):
        for caption, log_prob in captions:
            assert log_prob == pytest.approx(-loss(ensemble_of(models), val, row, caption), rel=1e-5)


def test_an_ensemble_captions_and_scores_a_split(models: list[Restored]) -> None:
    ensemble, val = ensemble_of(models), open_corpus(ensemble_of(models)).split("val")
    captions = [caption.text for caption in captioner_of(ensemble).caption_split(val)]
    corpus = open_corpus(ensemble)
    measured = score_model(captioner_of(ensemble), corpus, "val", *build_evaluation_set(corpus, "val")).scores
    losses = np.stack([member.model.word_losses(val.features[val.image_idxs], val.captions) for member in models])
    assert measured["loss"] == pytest.approx(-np.log(np.exp(-losses).mean(axis=0)).mean(), rel=1e-5)
    assert measured["distinct"] == len(set(captions))
    assert measured["loss"] < losses.mean(axis=1).max()


def test_models_of_an_ensemble_must_match(models: list[Restored]) -> None:
    first, _, last = models
    words = first.vocab.words
    for changes, message in (
        ({"vocab": Vocab([*words[:9], "xylophone", *words[10:]])},
         f"vocabulary: expected the {len(words)} words of a.h5, got {len(words)} words, different from id 9 on; "
         "an ensemble needs one shared vocabulary"),
        ({"meta": dataclasses.replace(last.meta, encoder="scenes-0")},
         f"features: expected encoder {first.meta.encoder} as in a.h5, got scenes-0; "
         "an ensemble needs one shared encoder"),
        ({"meta": dataclasses.replace(last.meta, feature_dim=9)},
         f"features: expected {first.meta.feature_dim} numbers per image, got 9; a.h5 was trained on features of "
         "another width"),
    ):  # fmt: skip
        with pytest.raises(CheckpointError) as caught:
            ensemble_of([*models[:2], dataclasses.replace(last, **changes)])
        assert str(caught.value) == f"c.h5: {message}"


def test_runs_load_as_an_ensemble_or_a_model(tiny_run: Path) -> None:
    ensemble = open_runs([tiny_run, tiny_run / "last.h5"], {"decode.max_length": 3})
    assert (ensemble.path, ensemble.config.decode.max_length) == (tiny_run / "best.h5", 3)
    assert isinstance(ensemble.model, Ensemble)
    assert open_runs([tiny_run]).path == tiny_run / "best.h5"
    assert open_runs([tiny_run / "last.h5"]).path == tiny_run / "last.h5"
