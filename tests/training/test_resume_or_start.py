"""captioner train --resume-or-start: a scheduler repeats the same command until the run has ended."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from small_runs import TrainRun, assert_same_arrays, history

from captioner.training.run_folder import FolderLock

OPTIONS = ("train.batch_size=16", "train.learning_rate=0.01", "model.dropout_hidden=0.4")
TWO_EPOCHS = 26


@pytest.fixture
def repeat(cli: Callable[..., Any], small_options: Sequence[str], tmp_path: Path) -> Callable[..., Any]:
    """Run the command once more."""

    def run(*more: object) -> Any:
        options = [*small_options, *(f"--set={option}" for option in (*OPTIONS, "train.epochs=2", "train.log_every=1"))]
        return cli("train", *options, *more, "--resume-or-start", tmp_path / "run")

    return run


@pytest.fixture(scope="module")
def uninterrupted(train_run: TrainRun) -> Path:
    return train_run(*OPTIONS, "train.epochs=2")


def modified(run: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in run.iterdir()}


def test_it_starts_and_then_does_nothing(repeat: Callable[..., Any], uninterrupted: Path, tmp_path: Path) -> None:
    first = repeat()
    assert (first.code, first.out) == (0, "")
    assert_same_arrays(tmp_path / "run", uninterrupted)
    before = modified(tmp_path / "run")
    again = repeat()
    assert (again.code, again.out) == (0, "")
    assert again.err.startswith(f"done after {TWO_EPOCHS} steps, ")
    assert again.err.count("\n") == 1
    assert modified(tmp_path / "run") == before


def test_a_run_killed_before_its_first_checkpoint_starts_again(
    repeat: Callable[..., Any], uninterrupted: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(uninterrupted / "config.yaml", run)
    lines = (uninterrupted / "history.jsonl").read_text().splitlines(keepends=True)
    (run / "history.jsonl").write_text("".join(lines[:3]) + '{"kind": "st')
    assert repeat().code == 0
    assert_same_arrays(run, uninterrupted)
    assert history(run) == history(uninterrupted)


def test_a_stopped_run_has_not_ended(repeat: Callable[..., Any], uninterrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert repeat("-o", "train.max_steps=20").code == 0
    text = (run / "history.jsonl").read_text()
    (run / "history.jsonl").write_text(text.replace('"ended": "done"', '"ended": "stopped"'))
    assert "from step 20" in repeat("-o", "train.max_steps=null").err
    assert_same_arrays(run, uninterrupted)


def test_another_config_file_is_reported(repeat: Callable[..., Any], tmp_path: Path) -> None:
    assert repeat().code == 0
    (tmp_path / "other.yaml").write_text("train: {patience: 9}\ndecode: {beam_width: 4}\n")
    done = repeat("-c", tmp_path / "other.yaml")
    assert done.code == 0
    assert done.err.startswith(
        f"warning: {tmp_path / 'run'}: the run continues with its own config, in which train.patience, "
        "decode.beam_width differ from the given one; options that can change are set with -o\n"
    )


def test_a_folder_in_use_or_with_other_files_is_left_alone(
    repeat: Callable[..., Any], uninterrupted: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "letters.txt").write_text("mine")
    assert repeat().code == 2
    assert [file.name for file in run.iterdir()] == ["letters.txt"]
    shutil.rmtree(run)
    shutil.copytree(uninterrupted, run)
    lock = FolderLock(run)
    done = repeat("-o", "train.epochs=4")
    del lock
    assert done.code == 2
    assert "another process trains in this folder" in done.err


@pytest.mark.parametrize("other", [["--run", "x"], ["--resume", "x"], ["--overwrite"], ["--overfit", "5"]])
def test_it_names_the_run_folder(other: list[str], repeat: Callable[..., Any]) -> None:
    done = repeat(*other)
    assert done.code == 2
    assert done.err == (
        "captioner: --resume-or-start sets the run folder; leave out --run, --resume, --overfit and --overwrite\n"
    )
