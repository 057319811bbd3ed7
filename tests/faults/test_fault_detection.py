"""The fault suite detects crashes, hangs, disabled safeguards and wrong files."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from captioner.errors import ConfigError, DataError
from captioner.storage import hdf5 as h5
from faults import disks, materials, sealed, texts, users, watch
from faults.models import run_endless
from faults.session import Session
from faults.watch import ESCAPED, Outcome, classify


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
            case 5:
                return Outcome("refused", str(bytearray(600 << 20)[:1]))
        return Outcome("refused")


def test_crashes_hangs_and_high_memory_are_counted_and_other_trials_run() -> None:
    tally = watch.run(Bad(), 8, workers=2, patience=6.0)
    assert tally.counts == {"crashed": 1, "hung": 1, "traceback": 1, "greedy": 1, "refused": 4}
    assert tally.escaped == 4
    assert len(tally.notes) == 4


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


def test_disabled_seal_check_is_detected(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = session.folder("files")
    whole, other = (materials.make_prepared(folder / f"{seed}.h5", seed) for seed in (0, 1))
    read, content, _ = sealed.READERS["data set"]
    trial = partial(sealed.read_damaged, "data set", whole, (other,), content(read(whole)), 0)
    monkeypatch.setattr("captioner.storage.sealed.Seal.raise_damaged", lambda seal, path: None)
    assert "silent" in {trial(number).kind for number in range(60)}


def test_disabled_external_storage_check_is_detected(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h5, "_check_storage", lambda plan, where: h5.h5d.CHUNKED + 1)
    monkeypatch.setattr(h5, "_check_whole", lambda *_: None)
    assert users.read_hostile(session.scratch, 0, list(users.CHANGES).index("external storage")).kind == "silent"


def test_misread_yaml_integer_is_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioner.config.values.INTEGER", texts.re.compile(r"[-+]?[0-9]+"))
    assert texts.attempt(b"seed: 017", tmp_path / "a.yaml").kind == "silent"


NO_LOCK_CHECK = """
from captioner.training.run_folder import FolderLock
FolderLock.check_not_moved = lambda *_: None
from captioner.cli import main
main()
"""


def test_disabled_folder_lock_check_is_detected(tmp_path: Path) -> None:
    expected = disks.uninterrupted(tmp_path / "uninterrupted", disks.SECOND_STEPS, (*disks.OPTIONS, disks.SECOND))
    every = disks.SAVE_EVERY[-1]
    outcome = disks.replaced("moved", tmp_path / "run", expected, every, np.random.default_rng(0), NO_LOCK_CHECK)
    assert outcome.kind in ESCAPED, outcome


def test_every_hostile_change_modifies_the_file(session: Session) -> None:
    folder = session.folder("files")
    files = {
        "checkpoint": materials.make_run(folder / "run") / "last.h5",
        "data set": materials.make_prepared(folder / "d.h5"),
    }
    for kind, whole in files.items():
        image = whole.read_bytes()[sealed.SIZE :]
        for name, (change, floats) in sealed.CHANGES[kind].items():
            made = sealed.hostile.apply(image, change, np.random.default_rng(0), str(folder / "victim"), floats)
            assert made != image, name
        again = folder / "again.h5"
        same = sealed.hostile.apply(image, lambda target: None, np.random.default_rng(0), "")
        again.write_bytes(sealed.seal_payload(same, sealed.SEALS[kind]))
        read, content, _ = sealed.READERS[kind]
        assert content(read(again)) == content(read(whole)), "resealing without a change must preserve the content"


@pytest.mark.parametrize("number", [1, 2])
def test_an_endless_model_is_stopped(number: int) -> None:
    assert run_endless(number).kind == "refused"
