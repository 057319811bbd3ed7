"""The re-ranking index is written when a training ends, for those who ask for it, and belongs to that run alone."""

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
from captioner.training.run_folder import RunFolder
from captioner.training.train import resume, train

ASKED = ("decode.beam_width=2", "decode.consensus=5")


@pytest.fixture
def go(small: Sequence[str], tmp_path: Path) -> Callable[..., Path]:
    def run(*overrides: str, overwrite: bool = False, stop: Callable[[], bool] = lambda: False) -> Path:
        config = parse("", "", [*small, "train.epochs=1", *overrides])
        for _ in train(config, tmp_path / "run", overwrite, stop):
            pass
        gc.collect()  # the folder is claimed as long as its object lives
        return tmp_path / "run"

    return run


def go_on(run: Path, *overrides: str) -> None:
    for _ in resume(run, overrides):
        pass


@pytest.mark.parametrize("ended", ["done", "stopped", "out of patience"])
def test_it_is_written_however_a_training_ends(ended: str, go: Callable[..., Path]) -> None:
    patience = ("train.epochs=9", "train.patience=1", "train.learning_rate=1e-30") if "patience" in ended else ()
    run = go(*ASKED, *patience, stop=lambda: ended == "stopped")
    restored = open_run(run / "last.h5")
    assert is_current(run / RERANKER, open_corpus(restored))
    assert load(run / RERANKER).origin.train == restored.meta.train_fingerprint
    assert captioner_of(restored).reranker is not None


def test_it_is_for_those_who_ask(go: Callable[..., Path]) -> None:
    run = go()
    assert not (run / RERANKER).exists()
    files = {path.name: path.read_bytes() for path in run.iterdir()}
    go_on(run, *ASKED)
    assert is_current(run / RERANKER, open_corpus(open_run(run)))
    (run / RERANKER).unlink()
    assert {path.name: path.read_bytes() for path in run.iterdir()} == files, "nothing else of a finished run changes"


def test_one_that_is_whole_stays_and_a_damaged_one_is_replaced(go: Callable[..., Path]) -> None:
    run = go(*ASKED, "train.max_steps=1")
    whole, file = (run / RERANKER).read_bytes(), (run / RERANKER).stat().st_ino
    go_on(run, "train.max_steps=2")
    assert (run / RERANKER).stat().st_ino == file
    (run / RERANKER).write_bytes(whole[:-1])
    go_on(run)
    assert (run / RERANKER).read_bytes() == whole


def test_a_run_that_takes_the_place_of_another_has_not_its_index(go: Callable[..., Path]) -> None:
    run = go(*ASKED)
    old = (run / RERANKER).read_bytes()
    folder = RunFolder(run)
    folder.create(overwrite=True)
    assert not (run / RERANKER).exists()
    assert (folder.before / RERANKER).read_bytes() == old, "it stays beside its checkpoint"
    assert captioner_of(open_run(folder.before)).reranker is not None
    folder.found_best()
    assert os.listdir(run) == []
    del folder
    gc.collect()
    other = go("seed=7", *ASKED, "data.max_train=20", overwrite=True)
    assert load(other / RERANKER).origin.train == open_run(other).meta.train_fingerprint
    assert (other / RERANKER).read_bytes() != old
    assert not (go("seed=8", overwrite=True) / RERANKER).exists()


def test_what_a_killed_writer_left_is_swept(go: Callable[..., Path]) -> None:
    run = go(*ASKED)
    left = run / f".{RERANKER}.123.tmp"
    left.touch()
    go_on(run)
    assert not left.exists()


def test_a_full_disk_leaves_the_checkpoints_whole(
    go: Callable[..., Path], files_of_at_most: Callable[[int], AbstractContextManager[None]]
) -> None:
    run = go("model.hidden_dim=4", "model.wordvec_dim=4")
    with files_of_at_most(2000), pytest.raises(CheckpointError, match=rf"^{run}/{RERANKER}: cannot write the re-rank"):
        go_on(run, *ASKED)
    assert not (run / RERANKER).exists()
    assert checkpoint.load(run / "last.h5").meta.step == checkpoint.load(run / "best.h5").meta.step
