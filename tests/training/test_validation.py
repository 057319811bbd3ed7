"""Validation during training: the best checkpoint, early stopping, scores of captions, and caption collapse."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_arrays import assert_same_arrays
from training_events import PER_EPOCH, kinds, scripted_losses

from captioner.arrays import Batch
from captioner.cli import progress
from captioner.config.yaml_io import parse
from captioner.data.corpus import Split
from captioner.data.vocabulary import Vocab
from captioner.errors import ConfigError
from captioner.evaluation.score_model import build_evaluation_set, score_model
from captioner.inference.load import captioner_of, open_corpus, open_run
from captioner.metrics import NAMES
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.parameters import Sizes, initial_params
from captioner.parallel.ranks import Reduce
from captioner.parallel.thread_pool import ThreadPool
from captioner.storage import checkpoint
from captioner.training import validation
from captioner.training.events import Validated, Warned
from captioner.training.resume import resume
from captioner.training.train import train
from captioner.training.validation import COLLAPSE_IMAGES, Collapse, Validation, find_collapse, remedies


def test_the_best_checkpoint_has_the_lowest_validation_loss(train_small, new_run: Path, monkeypatch) -> None:
    scripted_losses(monkeypatch, 3.0, 2.0, 2.5, 2.0)
    seen = train_small("train.epochs=4")
    assert [event.best for event in seen if isinstance(event, Validated)] == [True, True, False, False]
    best, last = checkpoint.load(new_run / "best.h5").meta, checkpoint.load(new_run / "last.h5").meta
    assert (best.step, last.step) == (8, 16)
    assert best.best == last.best == {"step": 8, "epoch": 2, "loss": 2.0}
    assert (best.since_best, last.since_best) == (0, 2)


def test_evaluate_reproduces_the_validation_loss_of_the_best_checkpoint(tiny_run: Path) -> None:
    from captioner.evaluation.score_model import build_evaluation_set, score_model
    from captioner.inference.load import captioner_of, open_corpus, open_run

    restored = open_run(tiny_run)
    corpus = open_corpus(restored)
    figures = score_model(captioner_of(restored), corpus, "val", *build_evaluation_set(corpus, "val")).scores
    assert figures["loss"] == pytest.approx(restored.meta.best["loss"], rel=1e-5)


def test_early_stopping(train_small, new_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted_losses(monkeypatch, 3.0, 2.0, 2.1, 1.9, 2.5, 2.2)
    seen = train_small("train.epochs=9", "train.patience=2")
    assert seen[-1].summary["ended"] == "early stopping"
    assert seen[-1].summary["steps"] == 6 * PER_EPOCH
    assert checkpoint.load(new_run / "last.h5").meta.step == 6 * PER_EPOCH
    assert checkpoint.load(new_run / "best.h5").meta.step == 4 * PER_EPOCH


def test_a_run_whose_patience_ends_with_its_last_epoch_is_done(train_small, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted_losses(monkeypatch, 2.0, 2.1, 2.2)
    assert train_small("train.epochs=3", "train.patience=2")[-1].summary["ended"] == "done"


def test_a_run_that_stopped_early_resumes_with_more_patience(train_small, new_run: Path, monkeypatch) -> None:
    scripted_losses(monkeypatch, 2.0, 2.1, 2.2, 2.3, 2.4)
    train_small("train.epochs=9", "train.patience=1")
    assert kinds(list(resume(new_run))) == "<>"
    assert list(resume(new_run, ["train.patience=3"]))[-1].summary["steps"] == 4 * PER_EPOCH


def test_validation_options(train_small, new_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def record_size(model: CaptioningRNN, batches: Iterator[Batch], pool: ThreadPool, reduce: Reduce) -> float:
        sizes.append(sum(len(batch.captions) for batch in batches))
        return 1.0

    monkeypatch.setattr(validation, "mean_word_loss", record_size)
    seen = train_small("train.max_steps=17", "validate.every=2", "validate.split=heldout", "validate.max_captions=7")
    assert [(event.step, event.epoch) for event in seen if isinstance(event, Validated)] == [(8, 2), (16, 4), (17, 5)]
    assert sizes == [7, 7, 7]
    train_small("train.max_steps=1", "validate.split=test", overwrite=True)
    assert sizes[3:] == [25]


def test_validation_does_not_change_training(train_small, new_run: Path, tmp_path: Path, small_config) -> None:
    dropout = ("model.dropout_embedding=0.3", "model.dropout_hidden=0.3", "train.max_steps=8")
    train_small(*dropout)
    list(train(small_config(*dropout, "validate.every=100", "validate.split=test"), tmp_path / "other"))
    assert_same_arrays(new_run, tmp_path / "other")


@pytest.fixture
def go(small: Sequence[str], tmp_path: Path) -> Callable[..., list[Validated]]:
    def run(*overrides: str) -> list[Validated]:
        config = parse("", "", [*small, "train.learning_rate=0.02", *overrides])
        return [event for event in train(config, tmp_path / "run") if isinstance(event, Validated)]

    return run


def test_captions_are_scored_every_n_epochs_and_at_the_end(go: Callable[..., Any], tmp_path: Path) -> None:
    events = go("train.epochs=5", "validate.score_every=2")
    assert [bool(event.scores) for event in events] == [False, True, False, True, True]
    assert {tuple(event.scores) for event in events if event.scores} == {NAMES}
    lines = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    scores = [event.scores for event in events]
    assert [(line["scores"], line.get("at_end", False)) for line in lines if line["kind"] == "validation"] == [
        *((one, False) for one in scores[:4]),
        ({}, False),  # as in a longer run, which does not score epoch 5
        (scores[4], True),
    ]


@pytest.mark.parametrize("option", ["train.ema_decay=0.5", "decode.consensus=100"])
def test_the_scores_equal_those_of_evaluate(
    option: str, go: Callable[..., Any], tmp_path: Path, inversions: list[int]
) -> None:
    events = go("train.epochs=12", "validate.score_every=6", "decode.beam_width=2", option)
    restored = open_run(tmp_path / "run" / "last.h5")
    corpus = open_corpus(restored)
    scored = score_model(captioner_of(restored, corpus), corpus, "val", *build_evaluation_set(corpus, "val"))
    assert events[-1].scores["bleu1"] > 0.2
    assert {name: scored.scores[name] for name in NAMES} == pytest.approx(events[-1].scores, abs=1e-12)
    assert scored.scores["loss"] == pytest.approx(events[-1].loss, rel=1e-5)
    assert inversions == ([40] if "consensus" in option else []), "once, for all validations and the run folder"


def test_best_checkpoint_by_score(go: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = iter([0.3, 0.5, 0.4, 0.5, 0.6])
    monkeypatch.setattr(Validation, "scores", lambda *_: dict.fromkeys(NAMES, next(script)))
    events = go("train.epochs=5", "validate.score_every=1", "validate.best_metric=cider_d")
    assert [event.best for event in events] == [True, True, False, False, True]
    best = checkpoint.load(tmp_path / "run" / "best.h5").meta.best
    assert best == {"step": events[4].step, "epoch": 5, "loss": events[4].loss, "cider_d": 0.6}
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["best"]["cider_d"] == 0.6


def test_a_validation_without_scores_is_never_the_best(go: Callable[..., Any], tmp_path: Path) -> None:
    events = go("train.epochs=3", "validate.score_every=2", "validate.best_metric=bleu4")
    assert events[0].best is False
    assert events[1].best is True
    assert checkpoint.load(tmp_path / "run" / "last.h5").meta.best["epoch"] == 2
    assert checkpoint.load(tmp_path / "run" / "best.h5").meta.best["epoch"] == (3 if events[2].best else 2)


def test_a_resumed_run_compares_with_the_saved_best_score(
    go: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = iter([0.5, 0.4, 0.6])
    monkeypatch.setattr(Validation, "scores", lambda *_: dict.fromkeys(NAMES, next(script)))
    go("train.epochs=1", "validate.score_every=1", "validate.best_metric=cider_d")
    again = [e for e in resume(tmp_path / "run", ["train.epochs=3"]) if isinstance(e, Validated)]
    assert [event.best for event in again] == [False, True]


def test_patience_counts_only_scored_validations(go: Callable[..., Any]) -> None:
    """Validations without scores do not count."""
    events = go("train.epochs=6", "validate.score_every=3", "validate.best_metric=cider_d", "train.patience=2")
    assert [event.epoch for event in events] == [1, 2, 3, 4, 5, 6]


def test_unknown_suppressed_words_are_rejected_before_training(go: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"decode\.suppress"):
        go("validate.score_every=1", "decode.suppress_words=unheard")
    assert not (tmp_path / "run").exists()


def test_ema_cannot_be_enabled_by_resume(go: Callable[..., Any], tmp_path: Path) -> None:
    go("train.epochs=1")
    with pytest.raises(ConfigError, match=r"-o train.ema_decay: the run in .* has no EMA; start a new run"):
        list(resume(tmp_path / "run", ["train.ema_decay=0.9", "train.epochs=2"]))


def test_best_metric_requires_scores(small: Sequence[str]) -> None:
    with pytest.raises(ConfigError, match=r"validate.best_metric.*is never measured \(set validate.score_every 1"):
        parse("", "", [*small, "validate.best_metric=cider_d"])


def test_the_message_of_a_validation(cli: Callable[..., Any], small_options: Sequence[str], tmp_path: Path) -> None:
    done = cli(
        "train", *small_options, "--run", tmp_path / "run", "-o", "train.epochs=1", "-o", "validate.score_every=1",
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


def warnings(model: CaptioningRNN, captions: Sequence[Sequence[str]]) -> list[str]:
    config = parse("", "", ["decode.max_length=5"])
    return [found.problem for found in find_collapse(model, split(captions), VOCAB, config)]


DISTINCT = [[word] for word in ("a", "cat", "dog", "bird")] * 3


def test_identical_captions_are_reported() -> None:
    (warning,) = warnings(constant_model(20, cat=1.0), DISTINCT)
    assert warning.startswith("100% of 12 validation images get the same caption: ")


def test_identical_captions_are_not_reported_if_the_references_are_identical_too() -> None:
    assert warnings(constant_model(20, cat=1.0), [["cat"]] * 12) == []


def test_frequent_unk_is_reported() -> None:
    found = warnings(constant_model(20, UNK=1.0), DISTINCT)
    assert len(found) == 2
    assert found[1].startswith("100% of the words in captions of validation images are <UNK>: ")


def test_frequent_unk_is_not_reported_if_the_references_have_as_many() -> None:
    assert warnings(constant_model(20, UNK=1.0), [["unheard", f"of{k}", "a"] for k in range(12)]) == []


def test_varied_captions_give_no_warning() -> None:
    model = constant_model(20)
    for name in ("W_proj", "Wh", "W_vocab"):
        model.params[name][:] = np.random.default_rng(1).standard_normal(model.params[name].shape) * 9
    model.params["b_vocab"][[VOCAB.null, VOCAB.start, VOCAB.unk]] = -1e6
    assert warnings(model, DISTINCT) == []


def test_the_number_of_captioned_images_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, start = [], CaptioningRNN.start

    def counted(model: CaptioningRNN, features: np.ndarray, regions: None) -> Any:
        counts.append(len(features))
        return start(model, features, regions)

    monkeypatch.setattr(CaptioningRNN, "start", counted)
    warnings(constant_model(408, cat=1.0), [["a"]] * 400)
    assert counts == [COLLAPSE_IMAGES]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((), ["a smaller train.learning_rate", "data.standardize true", "model.image_input every"]),
        (("data.standardize=true",), ["a smaller train.learning_rate", "model.image_input every"]),
        (
            ("data.standardize=true", "model.image_input=every", "data.source=prepared", "data.root=x.h5"),
            ["a smaller train.learning_rate", "features of another encoder"],
        ),
    ],
)
def test_the_advice_has_only_what_the_config_lacks(overrides: tuple[str, ...], expected: list[str]) -> None:
    assert remedies(parse("", "", overrides)) == expected


def test_a_kind_is_one_event_and_message_and_every_time_a_history_record(
    small: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [Collapse("identical", "identical captions")]
    monkeypatch.setattr(validation, "find_collapse", lambda *_: iter(found))
    events = list(train(parse("", "", [*small, "train.epochs=4"]), tmp_path / "run"))
    warned = [event for event in events if isinstance(event, Warned)]
    assert warned == [Warned(12, "identical captions")]
    history = (tmp_path / "run" / "history.jsonl").read_text()
    for step, epoch in ((12, 3), (16, 4)):
        record = f'{{"kind": "warning", "step": {step}, "epoch": {epoch}, "problem": "identical captions"}}'
        assert history.count(record) == 1
    progress.show(iter(events))
    assert capsys.readouterr().err.count("warning: identical captions\n") == 1


def test_checking_for_collapse_does_not_change_training(
    small: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: Callable[[Path], Any] = lambda folder: list(train(parse("", "", [*small, "train.epochs=4"]), folder))  # noqa: E731
    run(tmp_path / "checked")
    monkeypatch.setattr(validation, "find_collapse", lambda *_: iter(()))
    run(tmp_path / "unchecked")
    assert (tmp_path / "checked" / "last.h5").read_bytes() == (tmp_path / "unchecked" / "last.h5").read_bytes()
