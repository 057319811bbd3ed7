"""What resuming requires of a run, its options and its data, and what it leaves in the folder."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_events import FILES, kinds

from captioner.config.yaml_io import parse
from captioner.errors import CaptionerError, CheckpointError, ConfigError, UsageError
from captioner.preparation.load_corpus import build_corpus
from captioner.storage import checkpoint
from captioner.storage.atomic import write_atomically
from captioner.training import train as use_case
from captioner.training.train import resume


def test_resuming_removes_a_half_written_checkpoint(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", lambda source, target: None)
        write_atomically(own_run / "last.h5", (b"half a checkpoint",))
    assert len(list(own_run.iterdir())) == len(FILES) + 1
    list(resume(own_run, ["train.epochs=3"]))
    assert sorted(path.name for path in own_run.iterdir()) == FILES


def test_resuming_requires_a_checkpoint(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(CaptionerError, match=rf"^{path}: last.h5 not found; expected a folder written by"):
            next(resume(path))


@pytest.mark.parametrize(("kind", "overrides"), [(Path, []), (str, ["train.learning_rate=0.5"])])
def test_resuming_a_finished_run_changes_no_file(kind: type, overrides: list[str], own_run: Path) -> None:
    before = {path.name: path.read_bytes() for path in own_run.iterdir()}
    events = list(resume(kind(own_run), overrides))
    assert kinds(events) == "<>"
    assert events[-1].summary["ended"] == "nothing left to do"
    assert {path.name: path.read_bytes() for path in own_run.iterdir()} == before


def test_resuming_with_other_captions_is_rejected(own_run: Path) -> None:
    before = {path.name: path.read_bytes() for path in own_run.iterdir()}
    with pytest.raises(
        UsageError, match=rf"^{own_run}/last.h5: the captions, images or splits have changed since training began"
    ):
        next(resume(own_run, ["data.scenes.seed=1"]))
    assert {path.name: path.read_bytes() for path in own_run.iterdir()} == before


def test_resuming_without_optimizer_slots_is_rejected(own_run: Path) -> None:
    saved = checkpoint.load(own_run / "last.h5")
    checkpoint.save(own_run / "last.h5", dataclasses.replace(saved, slots={"m": saved.slots["m"]}))
    with pytest.raises(CheckpointError, match=rf"^{own_run}/last.h5: slots: expected m, v, got m$"):
        next(resume(own_run))


def test_resuming_with_another_update_rule_is_rejected(own_run: Path) -> None:
    with pytest.raises(ConfigError, match=r"^-o train.update_rule: expected adam as in .*, got sgd; "):
        next(resume(own_run, ["train.update_rule=sgd"]))


def test_resuming_with_another_standardization_is_rejected(own_run: Path) -> None:
    with pytest.raises(CaptionerError, match=r"data.standardize"):
        next(resume(own_run, ["data.standardize=true"]))


def test_resuming_with_other_features_is_rejected(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = build_corpus(parse((own_run / "config.yaml").read_text(), "saved"))
    train_split = corpus.split("train")
    for factor, message in ((1 + 1e-6, None), (1.01, "the features have changed since training began")):
        features = train_split.features[:] * np.float32(factor)
        changed = {**corpus.splits, "train": dataclasses.replace(train_split, features=features)}
        monkeypatch.setattr(use_case, "open_corpus", lambda _, s=changed: dataclasses.replace(corpus, splits=s))
        if message is None:
            assert kinds(list(resume(own_run))) == "<>"
        else:
            with pytest.raises(UsageError, match=message):
                next(resume(own_run))


@pytest.mark.parametrize("epochs", [2, 3], ids=["finished", "unfinished"])
def test_resuming_removes_temporary_files_of_a_killed_run(epochs: int, cli: Callable[..., Any], own_run: Path) -> None:
    for name in (".summary.json.999999999.tmp", ".last.h5.999999999.tmp"):
        (own_run / name).touch()
    assert cli("train", "--resume", own_run, "-o", f"train.epochs={epochs}").code == 0
    assert list(own_run.glob(".*")) == []
