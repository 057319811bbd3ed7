"""TensorBoard event files have the scalars of the history, stay correct after resuming, and never stop training."""

import builtins
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from small_runs import history
from tensorboardX.record_writer import RecordWriter

from captioner.config.options import Config
from captioner.config.yaml_io import parse
from captioner.errors import MissingLibraryError
from captioner.storage import checkpoint
from captioner.training.events import Ended, Event, Validated, Warned
from captioner.training.resume import resume
from captioner.training.solver import Step
from captioner.training.train import train
from faults.event_files import records, scalars

TRAIN = ("loss", "grad_norm", "learning_rate", "word_loss", "perplexity")


@pytest.fixture(scope="module")
def config(small: Sequence[str]) -> Callable[..., Config]:
    return lambda *overrides: parse("", "", [*small, "train.log_every=2", "train.tensorboard=true", *overrides])


def test_the_scalars_equal_the_history(config, new_run: Path) -> None:
    list(train(config("train.epochs=2", "validate.score_every=2"), new_run))
    shown = scalars(new_run)
    steps, validations = history(new_run, "step"), history(new_run, "validation")
    assert [step for step, _ in shown["train/words_per_second"]] == [2, 4, 6, 8]
    assert all(value > 0 for _, value in shown.pop("train/words_per_second"))
    for kind, lines, names in (("train", steps, TRAIN), ("validation", validations, ("loss", "perplexity"))):
        for name in names:
            expected = [(line["step"], pytest.approx(line[name], rel=1e-6)) for line in lines]
            assert shown.pop(f"{kind}/{name}") == expected
    assert {tag: [step for step, _ in rows] for tag, rows in shown.items()} == {
        f"validation/{name}": [8] for name in validations[-1]["scores"]
    }


def test_a_resumed_run_has_every_step_once(config, new_run: Path, tmp_path: Path) -> None:
    for event in train(config("train.epochs=3"), new_run):
        if isinstance(event, Step) and event.step == 7:
            break  # as after a kill: the last checkpoint is that of step 4
    del event
    list(resume(new_run))
    (*_, second) = files = sorted((new_run / "tensorboard").iterdir())
    assert len(files) == 2
    assert [record.step for record in records(second)][:2] == [0, 5]
    assert [step for step, _ in scalars(new_run)["train/loss"]] == [2, 4, 6, 8, 10, 12]
    list(train(config("train.epochs=3"), tmp_path / "other"))
    others = scalars(tmp_path / "other")
    for tag, rows in scalars(new_run).items():
        assert tag == "train/words_per_second" or rows == others[tag]


def test_a_validation_is_written_before_its_checkpoint_is_saved(config, new_run: Path) -> None:
    """A run that is killed after it saved the checkpoint resumes without this validation."""
    steps = (event.step for event in train(config("train.epochs=2"), new_run) if isinstance(event, Validated))
    assert next(steps) == 4
    assert checkpoint.load(new_run / "last.h5").meta.step == 4
    assert [step for step, _ in scalars(new_run)["validation/loss"]] == [4]
    steps.close()


def test_the_option_can_be_changed_for_a_resumed_run(own_run: Path) -> None:
    assert not (own_run / "tensorboard").exists()
    list(resume(own_run, ["train.epochs=3", "train.tensorboard=true", "train.log_every=1"]))
    assert [step for step, _ in scalars(own_run)["train/loss"]] == [9, 10, 11, 12]
    list(resume(own_run, ["train.epochs=4", "train.tensorboard=false"]))
    assert len(list((own_run / "tensorboard").iterdir())) == 1


def test_overwrite_keeps_the_event_files_with_the_previous_run(config, new_run: Path) -> None:
    list(train(config("train.max_steps=2"), new_run))
    list(resume(new_run))
    (old,) = (new_run / "tensorboard").iterdir()  # no file of a call that does nothing
    events = train(config("train.epochs=1", "seed=1"), new_run, overwrite=True)
    assert isinstance(next(event for event in events if isinstance(event, Step) and event.step == 2), Step)
    assert [file.name for file in (new_run / "before" / "tensorboard").iterdir()] == [old.name]
    list(events)
    assert not (new_run / "before").exists()
    assert [step for step, _ in scalars(new_run)["train/loss"]] == [2, 4]


def warned(events: list[Event]) -> list[Warned]:
    assert isinstance(events[-1], Ended)
    assert events[-1].summary["ended"] == "done"
    return [event for event in events if isinstance(event, Warned) and "event files" in event.problem]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(OSError(28, "No space left on device"), "No space left on device"), (ValueError("bad tag"), "bad tag")],
    ids=["the disk", "the library"],
)
def test_a_failing_writer_is_one_warning(
    error: Exception, reason: str, config, new_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, calls = RecordWriter.write, []

    def fail(self: RecordWriter, data: bytes) -> None:
        calls.append(1)
        if len(calls) > 3:
            raise error
        written(self, data)

    monkeypatch.setattr(RecordWriter, "write", fail)
    (warning,) = warned(list(train(config("train.epochs=2"), new_run)))
    assert warning.problem == (
        f"{new_run}/tensorboard: cannot write event files: {reason}; training continues without them"
    )
    assert len(calls) == 4


def test_a_folder_that_cannot_be_created_is_one_warning(config, own_run: Path) -> None:
    (own_run / "tensorboard").write_text("a file")
    (warning,) = warned(list(resume(own_run, ["train.epochs=4", "train.tensorboard=true"])))
    assert "cannot write event files: File exists; training continues" in warning.problem


def test_a_missing_library_is_reported_before_training(config, new_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def missing(name: str, *args: Any) -> Any:
        if name.partition(".")[0] == "tensorboardX":
            raise ModuleNotFoundError("No module named 'tensorboardX'", name="tensorboardX")
        return imported(name, *args)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(
        MissingLibraryError, match=r"train\.tensorboard: needs tensorboardX, which is not installed; try"
    ):
        next(train(config(), new_run))
    assert not new_run.exists()


def test_events_are_passed_on_unchanged(config, new_run: Path, tmp_path: Path) -> None:
    with_files = list(train(config("train.epochs=1"), new_run))
    without = list(train(config("train.epochs=1", "train.tensorboard=false"), tmp_path / "other"))
    kept = (Step, Validated)
    assert [event for event in with_files if isinstance(event, kept)] == [
        event for event in without if isinstance(event, kept)
    ]
