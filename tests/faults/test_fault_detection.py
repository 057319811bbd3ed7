"""The fault suite detects hangs, crashes, disabled safeguards and wrong files."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np
import pytest

from captioner.errors import ConfigError, DataError
from captioner.files.header import SIZE
from faults import damaged, disks, materials, repeated, signals, watch
from faults.watch import Outcome, classify


@dataclass(frozen=True)
class Bad:
    """A trial whose outcome depends on its number."""

    def __call__(self, number: int) -> Outcome:
        match number:
            case 1:
                os._exit(3)
            case 3:
                time.sleep(600)
            case 4:
                raise RuntimeError("a bug in the suite")
        return Outcome("refused")


def test_crashes_and_hangs_are_counted_and_other_trials_run() -> None:
    tally = watch.run(Bad(), 7, patience=20.0)
    assert tally.counts == {"hung": 2, "traceback": 1, "refused": 4}
    assert tally.escaped == 3
    assert [note.partition(":")[0] for note in tally.notes] == ["trial 1", "trial 3", "trial 4"]


def raising(error: BaseException) -> Callable[[], object]:
    def act() -> object:
        raise error

    return act


def with_invalid_message(error: Exception) -> Exception:
    """Give the error a two-line message, which captioner never produces."""
    error.args = ("a: two\nlines",)
    return error


ATTEMPTS = {
    "refused": raising(DataError("a: one line")),
    "messy": raising(with_invalid_message(DataError())),
    "traceback": raising(ValueError("of a library")),
    "silent": lambda: "changed",
    "harmless": lambda: "same",
}


@pytest.mark.parametrize("kind", ATTEMPTS)
def test_outcome_is_classified(kind: str) -> None:
    assert classify(ATTEMPTS[kind], lambda value: value == "same", DataError).kind == kind


def test_unexpected_error_type_is_a_traceback() -> None:
    assert classify(ATTEMPTS["refused"], lambda value: True, ConfigError).kind == "traceback"


@dataclass(frozen=True)
class Unverified:
    """The digest in the header of a file, whatever its content."""

    file: FileIO

    def hexdigest(self) -> str:
        return os.pread(self.file.fileno(), SIZE, 0).partition(b"\n")[0].split()[-1].decode()


def test_disabled_checksum_is_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, other = (materials.make_prepared(tmp_path / f"{seed}.h5", seed) for seed in (0, 1))
    kind = damaged.KINDS["data set"]
    expected = kind.content(kind.read(whole))
    monkeypatch.setattr("hashlib.file_digest", lambda file, name: Unverified(file))
    trials = (damaged.read_damaged("data set", whole, (other,), expected, 0, number) for number in range(60))
    assert "silent" in {outcome.kind for outcome in trials}


def test_temporary_file_of_a_killed_training_is_detected(tmp_path: Path) -> None:
    run = materials.make_run(tmp_path / "run")
    assert disks.check_last_checkpoint(run) == ""
    (run / ".last.h5.7.tmp").touch()
    assert disks.check_last_checkpoint(run) == "left behind: ['.last.h5.7.tmp']"


def test_training_that_does_not_stop_cleanly_is_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, time\nprint('a\\nb', file=sys.stderr, flush=True)\ntime.sleep(60)"
    monkeypatch.setattr(signals, "Training", lambda folder, steps, options: disks.Training(folder, steps, code=code))
    saved = disks.checkpoint.load(materials.make_run(tmp_path / "run") / "last.h5")
    outcome = signals.stop_and_resume(tmp_path / "stopped", saved, np.random.default_rng(0))
    assert (outcome.kind, "exit code" in outcome.note) == ("wrong", True)


def test_error_that_names_no_file_is_detected(tmp_path: Path) -> None:
    training = disks.Training(tmp_path / "run", 1, code="import sys; sys.exit('captioner: disk full')")
    assert disks.check_one_line_error(training, tmp_path / "run").startswith("names no file and reason")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> repeated.Inputs:
    return repeated.make_inputs(tmp_path_factory.mktemp("inputs"))


def test_a_file_that_differs_is_detected(
    inputs: repeated.Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = repeated.Completed({"out.h5": b"another data set"}, 1)
    outcome = repeated.kill_and_complete("prepare --features", 1, tmp_path / "killed", inputs, other)
    assert (outcome.kind, "differs: ['out.h5']" in outcome.note) == ("wrong", True)
    monkeypatch.setattr(repeated, "KILLED", "import sys; sys.exit(1)")
    assert repeated.kill_and_complete("prepare", 1, tmp_path / "ended", inputs, other).kind == "wrong"


def test_a_file_left_in_a_run_folder_is_detected(tiny_run: Path, own_run: Path) -> None:
    assert repeated.folder_difference(own_run, tiny_run) == ""
    (own_run / ".last.h5.7.tmp").touch()
    assert repeated.folder_difference(own_run, tiny_run) == "files: ['.last.h5.7.tmp']"


FORGETFUL = """
from captioner.training import resume
state = resume.TrainState
def forget(params, slots, step):
    return state(params, {slot: {name: 0 * w for name, w in arrays.items()} for slot, arrays in slots.items()}, step)
resume.TrainState = forget
"""


class Middle:
    """Kills every command at the middle one of its uses of files."""

    def integers(self, low: int, high: int) -> int:
        return (low + high) // 2


def test_a_run_that_continues_without_its_optimizer_state_is_detected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeated, "KILLED", FORGETFUL + repeated.KILLED)
    monkeypatch.setattr(repeated, "RUNS", 1)
    (outcome,) = repeated.kill_and_repeat(("attention", "EMA"), tmp_path, {}, Middle())  # type: ignore[arg-type]
    assert outcome.kind == "wrong"
    assert "last.h5: " in outcome.note, outcome
