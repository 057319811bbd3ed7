"""Validation during training: the best checkpoint, early stopping and options."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from checkpoint_arrays import assert_same_arrays
from training_events import PER_EPOCH, kinds, scripted_losses

from captioner.arrays import Batch
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.parallel.ranks import Reduce
from captioner.parallel.thread_pool import ThreadPool
from captioner.storage import checkpoint
from captioner.training import validation
from captioner.training.events import Validated
from captioner.training.resume import resume
from captioner.training.train import train


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
