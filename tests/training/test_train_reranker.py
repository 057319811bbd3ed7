"""Training writes the re-ranking index of its run when it ends, if consensus re-ranking is enabled."""

import gc
from pathlib import Path
from typing import Any

import pytest
from small_runs import TrainRun, contents

from captioner.captioning.find_checkpoint import RERANKER
from captioner.captioning.load import captioner_of, open_corpus, open_run
from captioner.captioning.reranker_index import current_index, read_index
from captioner.config.overrides import read_overrides
from captioner.training.resume import resume

RERANKING = ("decode.beam_width=2", "decode.consensus=5")


@pytest.fixture
def go(train_small, new_run: Path) -> TrainRun:
    def run(*overrides: str, **options: Any) -> Path:
        train_small("train.epochs=1", *overrides, **options)
        gc.collect()  # releases the lock on the folder
        return new_run

    return run


def continue_run(run: Path, *overrides: str) -> None:
    for _ in resume(run, read_overrides(overrides)):
        pass


@pytest.mark.parametrize("ended", ["done", "stopped", "out of patience"])
def test_the_index_is_written_however_training_ends(ended: str, go: TrainRun) -> None:
    patience = ("train.epochs=9", "train.patience=1", "train.learning_rate=1e-30") if "patience" in ended else ()
    run = go(*RERANKING, *patience, stop=lambda: ended == "stopped")
    restored = open_run(run / "last.h5")
    assert current_index(run / RERANKER, open_corpus(restored))
    assert read_index(run / RERANKER).train_digest == restored.meta.train_digest
    assert captioner_of(restored).reranker is not None


def test_the_index_is_written_only_if_enabled(go: TrainRun) -> None:
    run = go()
    assert not (run / RERANKER).exists()
    files = contents(run)
    continue_run(run, *RERANKING)
    assert current_index(run / RERANKER, open_corpus(open_run(run)))
    (run / RERANKER).unlink()
    assert contents(run) == files, "no other file of a finished run changes"


def test_a_damaged_index_is_replaced_and_a_valid_one_is_kept(go: TrainRun) -> None:
    run = go(*RERANKING, "train.max_steps=1")
    whole, file = (run / RERANKER).read_bytes(), (run / RERANKER).stat().st_ino
    continue_run(run, "train.max_steps=2")
    assert (run / RERANKER).stat().st_ino == file
    (run / RERANKER).write_bytes(whole[:-1])
    continue_run(run)
    assert (run / RERANKER).read_bytes() == whole


def test_the_index_is_renamed_with_its_run(go: TrainRun) -> None:
    run = go(*RERANKING)
    old = (run / RERANKER).read_bytes()
    other = go("seed=7", *RERANKING, "data.max_train=20", overwrite=True)
    renamed = run.with_name("run.old")
    assert (renamed / RERANKER).read_bytes() == old, "the index is kept with its checkpoint"
    assert captioner_of(open_run(renamed)).reranker is not None
    assert read_index(other / RERANKER).train_digest == open_run(other).meta.train_digest
    assert (other / RERANKER).read_bytes() != old
    assert not (go("seed=8", overwrite=True) / RERANKER).exists()
