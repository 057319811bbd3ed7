"""Validation during training: the best checkpoint, early stopping, scores of captions, and caption collapse."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import PER_EPOCH, TrainRun, assert_same_arrays, history, kinds, scripted_losses, summary

from captioner.arrays import Batch
from captioner.captioning.captioner import Captioner
from captioner.captioning.load import open_corpus, open_run
from captioner.captioning.saved_model import LoadedModel
from captioner.cli import progress
from captioner.config.overrides import read_overrides
from captioner.config.yaml_io import parse
from captioner.data.corpus import Split
from captioner.data.vocabulary import Vocab
from captioner.errors import ConfigError
from captioner.evaluation.evaluate import score_model
from captioner.evaluation.scoring import build_evaluation_set
from captioner.files import checkpoint
from captioner.files.checkpoint import Meta
from captioner.metrics import NAMES
from captioner.model.build import initial_params
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.parameters import Sizes
from captioner.parallel.ranks import Reduce
from captioner.parallel.thread_pool import ThreadPool
from captioner.training import validation
from captioner.training.resume import resume
from captioner.training.train import Validated, Warned
from captioner.training.validation import Collapse, Validation, find_collapse


def test_the_best_checkpoint_has_the_lowest_validation_loss(train_small, new_run: Path, monkeypatch) -> None:
    scripted_losses(monkeypatch, 3.0, 2.0, 2.5, 2.0)
    seen = train_small("train.epochs=4")
    assert [event.best for event in seen if isinstance(event, Validated)] == [True, True, False, False]
    best, last = checkpoint.load(new_run / "best.h5").meta, checkpoint.load(new_run / "last.h5").meta
    assert (best.step, last.step) == (8, 16)
    assert best.best == last.best == {"step": 8, "epoch": 2, "loss": 2.0}
    assert (best.since_best, last.since_best) == (0, 2)


def test_early_stopping(train_small, new_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted_losses(monkeypatch, 3.0, 2.0, 2.1, 1.9, 2.5, 2.2)
    seen = train_small("train.epochs=9", "train.patience=2")
    assert seen[-1].summary["ended"] == "early stopping"
    assert seen[-1].summary["step"] == 6 * PER_EPOCH
    assert checkpoint.load(new_run / "last.h5").meta.step == 6 * PER_EPOCH
    assert checkpoint.load(new_run / "best.h5").meta.step == 4 * PER_EPOCH


def test_a_run_whose_patience_ends_with_its_last_epoch_is_done(train_small, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted_losses(monkeypatch, 2.0, 2.1, 2.2)
    assert train_small("train.epochs=3", "train.patience=2")[-1].summary["ended"] == "done"


@pytest.mark.slow
def test_a_run_that_stopped_early_resumes_with_more_patience(train_small, new_run: Path, monkeypatch) -> None:
    scripted_losses(monkeypatch, 2.0, 2.1, 2.2, 2.3, 2.4)
    train_small("train.epochs=9", "train.patience=1")
    assert kinds(list(resume(new_run))) == "<>"
    assert list(resume(new_run, {"train.patience": 3}))[-1].summary["step"] == 4 * PER_EPOCH


def test_validation_options(train_small, new_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def record_size(model: CaptioningRNN, batches: Iterator[Batch], pool: ThreadPool, reduce: Reduce) -> float:
        sizes.append(sum(len(batch.captions) for batch in batches))
        return 1.0

    monkeypatch.setattr(validation, "mean_word_loss", record_size)
    seen = train_small("train.max_steps=17", "validate.every=2", "validate.split=heldout")
    assert [(event.step, event.epoch) for event in seen if isinstance(event, Validated)] == [(8, 2), (16, 4), (17, 5)]
    assert sizes == [25, 25, 25]
    train_small("train.max_steps=1", "validate.split=test", overwrite=True)
    assert sizes[3:] == [25]


@pytest.mark.slow
def test_validation_and_the_check_for_collapse_do_not_change_training(train_run: TrainRun) -> None:
    options = ("model.dropout_embedding=0.3", "model.dropout_hidden=0.3", "train.max_steps=16")
    assert_same_arrays(train_run(*options), train_run(*options, "validate.every=100", "validate.split=test"))


@pytest.fixture
def validate(train_small) -> Callable[..., list[Validated]]:
    """Trains a small run in `new_run`, and returns its validations."""
    return lambda *overrides: [
        event for event in train_small("train.learning_rate=0.02", *overrides) if isinstance(event, Validated)
    ]


def scripted_scores(monkeypatch: pytest.MonkeyPatch, *scores: float) -> None:
    """Replace all scores of the validations."""
    script = iter(scores)
    monkeypatch.setattr(Validation, "scores", lambda *_: dict.fromkeys(NAMES, next(script)))


def test_captions_are_scored_every_n_epochs_and_at_the_end(validate: Callable[..., Any], new_run: Path) -> None:
    events = validate("train.epochs=5", "validate.score_every=2")
    assert [bool(event.scores) for event in events] == [False, True, False, True, True]
    assert {tuple(event.scores) for event in events if event.scores} == {NAMES}
    *scores, last = [event.scores for event in events]
    assert [(line["scores"], line.get("at_end", False)) for line in history(new_run, "validation")] == [
        *((scored, False) for scored in scores),
        ({}, False),  # as in a longer run, which does not score epoch 5
        (last, True),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("option", ["train.ema_decay=0.5", "decode.similarity_weight=20 validate.split=train"])
def test_the_scores_equal_those_of_evaluate(option: str, validate: Callable[..., Any], new_run: Path) -> None:
    events = validate("train.epochs=12", "validate.score_every=6", "decode.beam_width=2", *option.split())
    restored = open_run(new_run / "last.h5")
    corpus = open_corpus(restored)
    name = restored.config.validate.split
    scored = score_model(Captioner(restored), corpus, name, *build_evaluation_set(corpus, name))
    assert events[-1].scores["bleu1"] > 0.2
    assert {name: scored.scores[name] for name in NAMES} == pytest.approx(events[-1].scores, abs=1e-12)
    assert scored.scores["loss"] == pytest.approx(events[-1].loss, rel=1e-5)


def test_best_checkpoint_by_score(validate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, new_run: Path) -> None:
    scripted_scores(monkeypatch, 0.3, 0.5, 0.4, 0.5, 0.6)
    events = validate("train.epochs=5", "validate.score_every=1", "validate.best_metric=cider_d")
    assert [event.best for event in events] == [True, True, False, False, True]
    best = checkpoint.load(new_run / "best.h5").meta.best
    assert best == {"step": events[4].step, "epoch": 5, "loss": events[4].loss, "cider_d": 0.6}
    assert summary(new_run)["best"]["cider_d"] == 0.6


def test_a_validation_without_scores_is_never_the_best(validate: Callable[..., Any], new_run: Path) -> None:
    events = validate("train.epochs=3", "validate.score_every=2", "validate.best_metric=bleu4")
    assert events[0].best is False
    assert events[1].best is True
    assert checkpoint.load(new_run / "last.h5").meta.best["epoch"] == 2
    assert checkpoint.load(new_run / "best.h5").meta.best["epoch"] == (3 if events[2].best else 2)


@pytest.mark.slow
def test_patience_counts_only_scored_validations(validate: Callable[..., Any]) -> None:
    """Validations without scores do not count."""
    events = validate("train.epochs=6", "validate.score_every=3", "validate.best_metric=cider_d", "train.patience=2")
    assert [event.epoch for event in events] == [1, 2, 3, 4, 5, 6]


def test_unknown_suppressed_words_are_rejected_before_training(validate: Callable[..., Any], new_run: Path) -> None:
    with pytest.raises(ConfigError, match=r"decode\.suppress"):
        validate("validate.score_every=1", "decode.suppress_words=unheard")
    assert not (new_run).exists()


def test_the_message_of_a_validation(cli: Callable[..., Any], small_options: Sequence[str], new_run: Path) -> None:
    done = cli(
        "train", *small_options, "--run", new_run, "-o", "train.epochs=1", "-o", "validate.score_every=1",
        "-o", "validate.best_metric=bleu4",
    )  # fmt: skip
    assert done.code == 0
    (line,) = [line for line in done.err.splitlines() if line.startswith("epoch 1")]
    assert "  BLEU-4 " in line
    assert ", CIDEr-D " in line
    assert "; best bleu4 " in done.err


VOCAB = Vocab.build([["a", "cat", "dog", "bird"]])


def split(captions: Sequence[Sequence[str]]) -> Split:
    """One image per caption, with distinct features."""
    count = len(captions)
    return Split(
        captions=VOCAB.encode(captions),
        image_idxs=np.arange(count, dtype=np.int32),
        features=np.eye(count, 8 + count, dtype=np.float32),
        image_ids=[str(image) for image in range(count)],
    )


def constant_model(width: int, **scores: float) -> CaptioningRNN:
    """A model that repeats the word with the highest score, for any image."""
    sizes = Sizes(len(VOCAB), width, 4, 4, "rnn")
    params = initial_params(sizes, np.random.default_rng(0).standard_normal, np.float64)
    for array in params.values():
        array[...] = 0
    for word, score in scores.items():
        params["b_vocab"][VOCAB.word_to_idx.get(word, VOCAB.unk)] = score
    return CaptioningRNN(sizes, params, VOCAB.null)


def warnings(model: CaptioningRNN, captions: Sequence[Sequence[str]], *decoding: str) -> list[str]:
    """The problems of a model whose config has these decoding options; by default it may write <UNK>."""
    config = parse("", "", read_overrides(["decode.max_length=5", "decode.suppress_unk=false", *decoding]))
    meta = Meta("", list(VOCAB.words), model.sizes.feature, "cs231n", "", "", "", 1, None, 0, {})
    captioner = Captioner(LoadedModel(Path("last.h5"), config, VOCAB, model, meta))
    return [collapse.problem for collapse in find_collapse(captioner, split(captions))]


DISTINCT = [[word] for word in ("a", "cat", "dog", "bird")] * 3
IDENTICAL = "100% of 12 validation images get the same caption: the model ignores the image; try "
COLLAPSES: dict[str, tuple[str, list[list[str]], list[str]]] = {
    "identical captions": ("cat", DISTINCT, [IDENTICAL]),
    "identical references too": ("cat", [["cat"]] * 12, []),
    "empty captions": (
        "<END>",
        DISTINCT,
        ["12 of 12 captions of validation images are empty: the model "],
    ),
}


@pytest.mark.parametrize("name", COLLAPSES)
def test_collapse_is_reported_unless_the_references_have_it(name: str) -> None:
    word, references, expected = COLLAPSES[name]
    reported = warnings(constant_model(20, **{word: 1.0}), references)
    assert len(reported) == len(expected)
    assert all(problem.startswith(start) for problem, start in zip(reported, expected, strict=True))


REMEDIES = {
    "": "a smaller train.learning_rate, data.standardize true or model.image_input every",
    "model.decoder=transformer": "a smaller train.learning_rate or data.standardize true",
    "model.image_input=every data.standardize=true": "a smaller train.learning_rate",
}


@pytest.mark.parametrize("options", REMEDIES)
def test_the_remedies_of_identical_captions_have_an_effect(options: str) -> None:
    assert warnings(constant_model(20, cat=1.0), DISTINCT, *options.split()) == [IDENTICAL + REMEDIES[options]]


def test_captions_are_judged_with_the_decoding_that_people_get() -> None:
    """A model whose most probable word is <UNK> writes none, as <UNK> is banned by default."""
    model = varied_model()
    model.params["b_vocab"][VOCAB.unk] = 1e6
    assert len(warnings(model, DISTINCT)) == 1
    assert warnings(model, DISTINCT, "decode.suppress_unk=true") == []


def test_varied_captions_give_no_warning() -> None:
    assert warnings(varied_model(), DISTINCT) == []


def varied_model() -> CaptioningRNN:
    """A model whose captions depend on the image."""
    model = constant_model(20)
    for name in ("W_proj", "Wh", "W_vocab"):
        model.params[name][:] = np.random.default_rng(1).standard_normal(model.params[name].shape) * 9
    model.params["b_vocab"][[VOCAB.null, VOCAB.start, VOCAB.unk]] = -1e6
    model.params["b_vocab"][VOCAB.end] = -20
    return model


def test_a_kind_is_one_event_and_message_and_every_time_a_history_record(
    train_small, new_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = "identical captions"
    monkeypatch.setattr(validation, "find_collapse", lambda *_: iter([Collapse("identical", problem)]))
    events = train_small("train.epochs=4")
    assert [event for event in events if isinstance(event, Warned)] == [Warned(12, problem)]
    assert history(new_run, "warning") == [
        {"kind": "warning", "step": step, "epoch": epoch, "collapse": "identical", "problem": problem}
        for step, epoch in ((12, 3), (16, 4))
    ]
    progress.show_training(iter(events))
    assert capsys.readouterr().err.count("warning: identical captions\n") == 1
