"""Training writes the re-ranking index of its run when it ends, if consensus re-ranking is enabled."""

import gc
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from captioner.config.yaml_io import parse
from captioner.errors import CheckpointError
from captioner.inference.find_checkpoint import RERANKER
from captioner.inference.load import captioner_of, open_corpus, open_run
from captioner.inference.reranker_index import is_current, load
from captioner.storage import checkpoint
from captioner.training.resume import resume
from captioner.training.run_folder import RunFolder
from captioner.training.train import train

RERANKING = ("decode.beam_width=2", "decode.consensus=5")


@pytest.fixture
def go(small: Sequence[str], tmp_path: Path) -> Callable[..., Path]:
    def run(*overrides: str, overwrite: bool = False, stop: Callable[[], bool] = lambda: False) -> Path:
        config = parse("", "", [*small, "train.epochs=1", *overrides])
        for _ in train(config, tmp_path / "run", overwrite, stop):
            pass
        gc.collect()  # releases the lock on the folder
        return tmp_path / "run"

    return run


def continue_run(run: Path, *overrides: str) -> None:
    for _ in resume(run, overrides):
        pass


@pytest.mark.parametrize("ended", ["done", "stopped", "out of patience"])
def test_the_index_is_written_however_training_ends(ended: str, go: Callable[..., Path]) -> None:
    patience = ("train.epochs=9", "train.patience=1", "train.learning_rate=1e-30") if "patience" in ended else ()
    run = go(*RERANKING, *patience, stop=lambda: ended == "stopped")
    restored = open_run(run / "last.h5")
    assert is_current(run / RERANKER, open_corpus(restored))
    assert load(run / RERANKER).origin.train == restored.meta.train_fingerprint
    assert captioner_of(restored).reranker is not None


def test_the_index_is_written_only_if_enabled(go: Callable[..., Path]) -> None:
    run = go()
    assert not (run / RERANKER).exists()
    files = {path.name: path.read_bytes() for path in run.iterdir()}
    continue_run(run, *RERANKING)
    assert is_current(run / RERANKER, open_corpus(open_run(run)))
    (run / RERANKER).unlink()
    assert {path.name: path.read_bytes() for path in run.iterdir()} == files, "no other file of a finished run changes"


def test_a_damaged_index_is_replaced_and_a_valid_one_is_kept(go: Callable[..., Path]) -> None:
    run = go(*RERANKING, "train.max_steps=1")
    whole, file = (run / RERANKER).read_bytes(), (run / RERANKER).stat().st_ino
    continue_run(run, "train.max_steps=2")
    assert (run / RERANKER).stat().st_ino == file
    (run / RERANKER).write_bytes(whole[:-1])
    continue_run(run)
    assert (run / RERANKER).read_bytes() == whole


def test_overwriting_a_run_removes_its_index(go: Callable[..., Path]) -> None:
    run = go(*RERANKING)
    old = (run / RERANKER).read_bytes()
    folder = RunFolder(run)
    folder.create(overwrite=True)
    assert not (run / RERANKER).exists()
    assert (folder.previous / RERANKER).read_bytes() == old, "the index is kept with its checkpoint"
    assert captioner_of(open_run(folder.previous)).reranker is not None
    folder.discard_previous()
    assert os.listdir(run) == []
    del folder
    gc.collect()
    other = go("seed=7", *RERANKING, "data.max_train=20", overwrite=True)
    assert load(other / RERANKER).origin.train == open_run(other).meta.train_fingerprint
    assert (other / RERANKER).read_bytes() != old
    assert not (go("seed=8", overwrite=True) / RERANKER).exists()


def test_resuming_removes_a_half_written_index(go: Callable[..., Path]) -> None:
    run = go(*RERANKING)
    left = run / f".{RERANKER}.123.tmp"
    left.touch()
    continue_run(run)
    assert not left.exists()


def test_a_full_disk_leaves_the_checkpoints_intact(
    go: Callable[..., Path], files_of_at_most: Callable[[int], AbstractContextManager[None]]
) -> None:
    run = go("model.hidden_dim=4", "model.wordvec_dim=4")
    with files_of_at_most(2000), pytest.raises(CheckpointError, match=rf"^{run}/{RERANKER}: cannot write the re-rank"):
        continue_run(run, *RERANKING)
    assert not (run / RERANKER).exists()
    assert checkpoint.load(run / "last.h5").meta.step == checkpoint.load(run / "best.h5").meta.step
