"""Initial parameters from a checkpoint of another vocabulary: shared words, standardization, resumption, messages."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_runs import TrainRun, assert_same_arrays, history, summary

from captioner.arrays import Array
from captioner.captioning.load import is_training_split, open_corpus, open_run
from captioner.captioning.saved_model import SavedModel
from captioner.config.checks import SHAPING
from captioner.config.options import Prepare
from captioner.config.overrides import override
from captioner.config.yaml_io import parse
from captioner.data.corpus import Corpus, with_vocabulary
from captioner.data.vocabulary import SPECIAL, Vocab
from captioner.errors import CheckpointError, ConfigError
from captioner.evaluation.evaluate import evaluate_split, open_captioners
from captioner.files import checkpoint
from captioner.metrics import NAMES
from captioner.photos.prepare import prepare
from captioner.preparation.load_corpus import build_corpus
from captioner.training.build import build_model
from captioner.training.initialize import WORD_AXES, _in_context, initialize_from
from captioner.training.resume import resume

STANDARD = ("data.standardize=true", "model.output_bias=log_frequency")
SCST = ("train.objective=self_critical", "decode.max_length=8")
ATTENTION = ("model.attention=adaptive", "model.attention_dim=8", "data.standardize=true")


class Albums(NamedTuple):
    """Two data sets of different photographs and words, with regions, and the first one without regions."""

    old: Path
    new: Path
    plain: Path


@pytest.fixture(scope="module")
def albums(album: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Albums:
    folder = tmp_path_factory.mktemp("albums")
    tables = {"old": album(folder / "old"), "new": album(folder / "new", 8, 30), "plain": folder / "old/captions.csv"}
    for name, table in tables.items():
        options = Prepare(encoder="scenes", val=0.25, min_count=1, regions=name != "plain")
        list(prepare([str(table)], folder / f"{name}.h5", options))
    return Albums(*(folder / f"{name}.h5" for name in tables))


@pytest.fixture(scope="module")
def train_on(train_run: TrainRun) -> TrainRun:
    """Trains on a prepared data set."""

    def run(data: Path, *overrides: str) -> Path:
        is_new = not any(override.startswith("train.init_from") for override in overrides)
        return train_run("data.source=prepared", f"data.root={data}", *STANDARD[: 1 + is_new], *overrides)

    return run


@pytest.fixture(scope="module")
def start(train_on: TrainRun, albums: Albums) -> Path:
    return train_on(albums.old, "train.max_steps=3")


def words_of(data: Path) -> tuple[str, ...]:
    return build_corpus(parse("", "", {"data.source": "prepared", "data.root": data})).vocab.words


@pytest.mark.parametrize("vocabulary", ["union", "data_set"])
def test_the_vocabulary_of_a_fine_tuned_model_and_its_other_parameters(
    vocabulary: str, train_on: TrainRun, albums: Albums, start: Path
) -> None:
    tiny = ("train.max_steps=1", "train.learning_rate=1e-12", f"data.vocabulary={vocabulary}")
    tuned = checkpoint.load(train_on(albums.new, *tiny, f"train.init_from={start}") / "last.h5")
    before = checkpoint.load(start / "last.h5")
    words, old = tuned.meta.words, before.meta.words
    shared = [word for word in words if word in old]
    assert len(SPECIAL) < len(shared) < len(words) != len(old)
    added = [word for word in words_of(albums.new) if word not in old]
    assert list(words) == ([*old, *added] if vocabulary == "union" else list(words_of(albums.new)))
    for name in tuned.params.keys() - WORD_AXES.keys():
        np.testing.assert_allclose(tuned.params[name], before.params[name], atol=1e-6)


def test_the_standardization_of_the_checkpoint_is_kept(train_on: TrainRun, albums: Albums, start: Path) -> None:
    """The projection was trained on features standardized with it."""
    tuned = checkpoint.load(train_on(albums.new, "train.max_steps=1", f"train.init_from={start}") / "last.h5")
    fresh, before = (checkpoint.load(run / "last.h5") for run in (train_on(albums.new, "train.max_steps=1"), start))
    for name, array in tuned.standardizer.items():
        np.testing.assert_array_equal(array, before.standardizer[name])
        assert not np.array_equal(array, fresh.standardizer[name])


@pytest.mark.parametrize("options", [(), SCST, ATTENTION])
def test_a_resumed_run_equals_an_uninterrupted_one(
    options: tuple[str, ...], train_on: TrainRun, albums: Albums, start: Path
) -> None:
    if options == ATTENTION:
        start = train_on(albums.old, *options, "train.max_steps=2")
    options = (*options, f"train.init_from={start}")
    whole = train_on(albums.new, *options, "train.max_steps=4")
    half = train_on(albums.new, *options, "train.max_steps=2")
    for _ in resume(half, {"train.max_steps": 4}):
        pass
    assert_same_arrays(half, whole)
    assert history(half, "init_from") == history(whole, "init_from")


def test_the_shared_words_are_printed_and_recorded(
    cli: Callable[..., Any], small_model: Sequence[str], albums: Albums, start: Path, tmp_path: Path
) -> None:
    options = (STANDARD[0], "train.max_steps=1", f"train.init_from={start}", "data.vocabulary=data_set")
    overrides = [f"-o{option}" for option in options]
    done = cli("train", *small_model, *overrides, "--data", albums.new, "--run", tmp_path / "run")
    assert done.code == 0, done.err
    words, old = words_of(albums.new), words_of(albums.old)
    shared, count = len({*words} & {*old} - {*SPECIAL}), len(words) - len(SPECIAL)
    expected = f"\nstarts from {start / 'best.h5'}: {shared} of {count} words shared, "
    dropped = len(old) - len(SPECIAL) - shared
    assert f"{expected}{count - shared} new, {dropped} dropped\n" in done.err
    assert "\nwarning: train.init_from: images that the base model was trained on too count twice" in done.err
    record = {"checkpoint": str(start / "best.h5"), "shared_words": shared, "words": count, "dropped_words": dropped}
    first = history(tmp_path / "run")[0]
    assert first.pop("scores").keys() == {*NAMES}
    assert first == {"kind": "init_from", "step": 0, **record}
    resumed = cli("train", "--resume", tmp_path / "run", "-otrain.max_steps=2")
    assert "starts from" not in resumed.err


def test_the_data_set_of_a_fine_tuned_run_has_its_vocabulary(
    cli: Callable[..., Any], train_on: TrainRun, albums: Albums, start: Path
) -> None:
    """So the perplexity is that of training, and training images are recognized."""
    run = train_on(albums.new, "train.max_steps=2", f"train.init_from={start}")
    assert is_training_split(open_run(run), open_corpus(open_run(run)))
    done = cli("evaluate", run, "--json")
    assert json.loads(done.out)["perplexity"] == pytest.approx(summary(run)["best"]["perplexity"], rel=1e-5)
    of_file = cli("evaluate", run, "--data", albums.new, "--json")
    assert json.loads(of_file.out)["perplexity"] == json.loads(done.out)["perplexity"]
    with pytest.raises(CheckpointError, match="vocabulary: expected the"):
        open_corpus(open_run(start, {"data.root": albums.new}))
    again = train_on(albums.old, "train.max_steps=1", f"train.init_from={start}")
    with pytest.raises(CheckpointError, match="vocabulary: expected the"):
        open_corpus(open_run(again, {"data.root": albums.new}))


def test_models_of_different_vocabularies_are_scored_on_their_common_data_set(
    train_on: TrainRun, albums: Albums, start: Path
) -> None:
    """In the vocabulary of the first; another data set keeps its vocabulary, even if the model has all its words."""
    tuned = train_on(albums.new, "train.max_steps=1", f"train.init_from={start}")
    fresh = train_on(albums.new, "train.max_steps=1")
    for runs in ((tuned, fresh), (fresh, tuned)):
        captioners, corpus = open_captioners(runs, {}, ensemble=False, data=albums.new)
        scores = [scored.scores for scored in evaluate_split(captioners, corpus, "val").scored]
        assert [score["perplexity"] is None for score in scores] == [False, True]
    assert open_corpus(open_run(tuned), albums.old).vocab.words == words_of(albums.old)


def test_a_run_on_scenes_is_trained_further_on_photographs(tiny_run: Path, train_run: TrainRun, albums: Albums) -> None:
    data = "data.source=prepared", f"data.root={albums.plain}"
    run = train_run(*data, f"train.init_from={tiny_run}", "train.max_steps=1")
    assert {*open_run(run).vocab.words} == {*open_run(tiny_run).vocab.words, *words_of(albums.plain)}


@pytest.fixture(scope="module")
def unchanged(tiny_run: Path) -> tuple[SavedModel, Corpus]:
    """A trained model and its corpus."""
    restored = open_run(tiny_run)
    return restored, build_corpus(restored.config)


LETTERS = st.lists(st.sampled_from([*SPECIAL, *"abcdefgh"]), unique=True)


@given(words=LETTERS, seed=st.integers(0, 3))
def test_words_are_mapped_by_name_whatever_their_ids(
    words: list[str], seed: int, unchanged: tuple[SavedModel, Corpus]
) -> None:
    """Special tokens may have any ids, and no word needs to be shared."""
    restored, whole = unchanged
    config = override(restored.config, {"seed": seed})
    known = [f"{word}-new" if word not in SPECIAL else word for word in words[::2]]
    vocab = Vocab(dict.fromkeys([*known, *reversed(restored.vocab.words[:9]), *SPECIAL]))
    corpus = with_vocabulary(whole, vocab)
    model, record, _ = initialize_from(build_model(config, corpus), config, restored, corpus)
    assert model.null == vocab.null
    assert record["words"] == len(vocab) - len(SPECIAL)
    assert record["shared_words"] == len({*vocab.words} & {*restored.vocab.words} - {*SPECIAL})
    for name, axis in WORD_AXES.items():
        for i, word in enumerate(vocab.words):
            ids = restored.vocab.word_to_idx
            trained = restored.model.params[name]
            expected = trained.take(ids[word], axis) if word in ids else trained.mean(axis)
            np.testing.assert_allclose(model.params[name].take(i, axis), expected, rtol=1e-5, atol=1e-6)


def test_new_words_are_as_improbable_as_trained_ones(tiny_run: Path) -> None:
    """The scores of a trained model have any offset; new words with scores of 0 would be written all the time."""
    restored = open_run(tiny_run)
    restored.model.params["b_vocab"] -= 8
    corpus = build_corpus(restored.config)
    vocab = Vocab((*restored.vocab.words, *(f"new-{number}" for number in range(40))))
    corpus = dataclasses.replace(corpus, vocab=vocab)
    model, *_ = initialize_from(build_model(restored.config, corpus), restored.config, restored, corpus)
    features = corpus.split("val").features[:]
    log_probs, _ = model.step(np.full(len(features), vocab.start), model.start(features))
    trained = restored.model.step(np.full(len(features), vocab.start), restored.model.start(features))[0]
    share = np.exp(log_probs[:, len(restored.vocab) :]).sum(axis=1)
    assert share.max() <= 40 / len(vocab)
    np.testing.assert_allclose(log_probs[:, : len(restored.vocab)], trained + np.log1p(-share)[:, None], rtol=1e-4)


WORDS = ["<NULL>", "<START>", "<END>", "<UNK>", "a", "dog", "people", "are", "runs", "stand"]
NEXT = {
    "a": {"dog": 0.9, "runs": 1e-4},
    "dog": {"runs": 1.0},
    "people": {"are": 0.9, "stand": 0.1},
    "are": {"stand": 1.0},
}


@pytest.mark.parametrize(
    ("first", "following", "expected"),
    [("a", "runs", "dog"), ("people", "stand", "people"), ("a", "", "a")],  # as "a dog runs", "people are stand"
)
def test_a_name_stands_for_the_thing_that_the_next_word_is_said_of(first: str, following: str, expected: str) -> None:
    """Not for the article, by which most captions begin."""
    table = np.full((len(WORDS), len(WORDS)), 1e-9)
    for word, others in {**NEXT, "<START>": {first: 0.99, "dog": 1e-3}}.items():
        for other, share in others.items():
            table[WORDS.index(word), WORDS.index(other)] = share

    def step(tokens: Array, state: Any) -> tuple[Array, Any]:
        return np.log(table[tokens]), (tokens,)

    names = np.isin(WORDS, ["dog", "people"])
    ids = np.array([WORDS.index(following) if following else -1])
    start = table[[WORDS.index("<START>")]]
    probs = _in_context(start, (ids,), ids, ~np.isin(WORDS, SPECIAL), names, step)
    assert WORDS[probs[0].argmax()] == expected
    assert probs.sum() == pytest.approx(1)


OTHERS = {
    "model.decoder": ("gru", "expected lstm", "got gru"),
    "model.wordvec_dim": ("9", "expected 16", "got 9"),
    "model.hidden_dim": ("9", "expected 16", "got 9"),
    "model.image_input": ("every", "expected init", "got every"),
    "model.attention": ("adaptive", "expected none", "got adaptive"),
    "data.standardize": ("false", "expected True", "got False"),
}


def test_another_model_is_rejected(train_on: TrainRun, albums: Albums, start: Path) -> None:
    for option, (value, expected, got) in OTHERS.items():
        problem = rf"^{option}: {expected} as in {start}/best.h5 \(train.init_from\), {got}; try -o {option}="
        with pytest.raises(ConfigError, match=problem):
            train_on(albums.new, f"train.init_from={start}", f"{option}={value}")


def test_sizes_that_are_not_given_are_those_of_the_base_model(train_on: TrainRun, albums: Albums) -> None:
    """The regions, which the data set has only with attention, are not a problem too."""
    attentive = train_on(albums.old, *ATTENTION, "train.max_steps=1")
    run = open_run(train_on(albums.new, f"train.init_from={attentive}", "train.max_steps=1"))
    assert (run.config.model.attention, run.config.model.attention_dim) == ("adaptive", 8)
    with pytest.raises(ConfigError) as caught:
        train_on(albums.new, f"train.init_from={attentive}", "model.attention=none")
    assert caught.value.problems[0].startswith("model.attention: expected adaptive")


def test_every_option_that_shapes_the_model_is_checked() -> None:
    of_transformers = {"layers", "heads", "feed_forward_dim", "activation"}
    assert {*OTHERS, "model.attention_dim", *(f"model.{name}" for name in of_transformers)} == {*SHAPING}


def test_another_encoder_is_rejected_in_one_line(
    cli: Callable[..., Any], small_model: Sequence[str], coco_run: Path, albums: Albums, tmp_path: Path
) -> None:
    options = "-otrain.init_from=" + str(coco_run), "--data", albums.new, "--run", tmp_path / "run"
    done = cli("train", *small_model, *options)
    assert done.code == 2
    (line,) = (line for line in done.err.splitlines() if "features: expected encoder" in line)
    assert line.endswith(
        "use features of the encoder of the training images; or train without that model, as -c photos-thousands does"
    )
    assert not (tmp_path / "run").exists()
