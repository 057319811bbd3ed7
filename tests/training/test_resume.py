"""A run that ended, was interrupted or killed, and was resumed, is bit-identical to an uninterrupted run."""

import dataclasses
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from small_runs import FILES, TrainRun, assert_same_arrays, contents, history, kinds, summary

from captioner.config.overrides import read_overrides
from captioner.config.yaml_io import parse
from captioner.data.corpus import Corpus
from captioner.data.prepared import write_prepared
from captioner.errors import CheckpointError, ConfigError
from captioner.files import checkpoint
from captioner.preparation.load_corpus import build_corpus
from captioner.training.resume import resume
from captioner.training.run import LABELS, environment
from captioner.training.run_folder import RunFolder, end_of, record_of

TOTAL, HALF = 20, 10
"""An epoch has 13 steps, so the run stops within an epoch."""

OPTIONS = (
    "train.batch_size=16",
    "train.update_rule=adam",
    "train.learning_rate=0.01",
    "train.schedule=constant",
    "model.dropout_features=0.2",
    "model.dropout_embedding=0.3",
    "model.dropout_hidden=0.4",
    "model.image_input=every",
    "train.ema_decay=0.9",
)
AT_STEP = """
import os, sys
from captioner.training import train

def steps(*args):
    for step in real(*args):
        if step.step == at:
            os.kill(os.getpid(), number)
        yield step

at, number, real, train.steps = int(sys.argv[1]), int(sys.argv[2]), train.steps, steps
from captioner.cli import main
main(sys.argv[3:])
"""
"""The command line, with a signal sent to its process after a step of the solver."""


@pytest.fixture(scope="module")
def options(small_options: Sequence[str]) -> list[str]:
    return [*small_options, *(f"--set={option}" for option in (*OPTIONS, "train.log_every=1"))]


@pytest.fixture(scope="module")
def uninterrupted(train_run: TrainRun) -> Path:
    return train_run(*OPTIONS, f"train.max_steps={TOTAL}")


def assert_same_training(run: Path, uninterrupted: Path) -> None:
    """Compare parameters, optimizer slots and the records of all steps."""
    saved, expected = checkpoint.load(run / "last.h5"), checkpoint.load(uninterrupted / "last.h5")
    assert saved.meta.step == expected.meta.step == TOTAL
    assert (saved.meta.best, saved.meta.since_best) == (expected.meta.best, expected.meta.since_best)
    groups = {"params", "slots/average", "slots/m", "slots/v", "standardizer", "summary"}
    assert saved.groups().keys() == groups
    assert_same_arrays(run, uninterrupted)
    assert history(run, "step") == history(uninterrupted, "step")
    assert [line["step"] for line in history(run, "step")] == list(range(1, TOTAL + 1))


def test_a_resumed_run_equals_an_uninterrupted_one(
    uninterrupted: Path, cli: Callable[..., Any], options: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    first = cli("train", *options, f"--set=train.max_steps={HALF}", "--run", run)
    assert (first.code, first.out) == (0, "")
    assert checkpoint.load(run / "last.h5").meta.step == HALF
    second = cli("train", "--resume", run, "-o", f"train.max_steps={TOTAL}")
    assert second.code == 0, second.err
    assert f"from step {HALF}" in second.err
    assert_same_training(run, uninterrupted)


ENDS = {
    "SIGINT": (130, 7, []),
    "SIGTERM": (143, 15, []),
    "SIGKILL": (-9, 18, ["--set=train.save_every=4"]),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "SIGKILL" else pytest.mark.slow) for name in ENDS]
)
def test_a_run_resumed_after_a_signal_equals_an_uninterrupted_one(
    name: str,
    uninterrupted: Path,
    shell: Callable[..., subprocess.CompletedProcess[str]],
    cli: Callable[..., Any],
    options: list[str],
    tmp_path: Path,
) -> None:
    number = getattr(signal, name)
    code, at, more = ENDS[name]
    run = tmp_path / "run"
    command = ["train", *options, *more, f"--set=train.max_steps={TOTAL}", "--run", run]
    stopped = shell(at, int(number), *command, code=AT_STEP)
    assert (stopped.returncode, stopped.stdout) == (code, "")
    assert "Traceback" not in stopped.stderr
    saved = checkpoint.load(run / "last.h5").meta.step
    if name == "SIGKILL":
        assert saved == at // 4 * 4
    else:
        assert saved == at
        assert stopped.stderr.splitlines()[-1].startswith(f"stopped after {at} steps, ")
    assert cli("train", "--resume", run).code == 0
    assert_same_training(run, uninterrupted)
    assert history(run, "validation") == history(uninterrupted, "validation")
    assert (run / "best.h5").exists()


@pytest.mark.parametrize("epochs", [2, 3], ids=["finished", "unfinished"])
def test_resuming_removes_temporary_files_of_a_killed_run(epochs: int, own_run: Path) -> None:
    for name in ("config.yaml", "last.h5"):
        (own_run / f".{name}.999999999.tmp").touch()
    list(resume(own_run, {"train.epochs": epochs}))
    assert sorted(path.name for path in own_run.iterdir()) == FILES


@pytest.mark.parametrize("cut", [1, 9], ids=["the end of the line", "half of the record"])
def test_a_history_that_was_cut_is_ended_before_it_continues(cut: int, own_run: Path) -> None:
    whole = (own_run / "history.jsonl").read_bytes()
    (own_run / "history.jsonl").write_bytes(whole[:-cut])
    list(resume(own_run))
    *lines, end = (own_run / "history.jsonl").read_bytes().splitlines(keepends=True)
    assert b"".join(lines) == whole.removesuffix(end) if cut == 1 else lines == whole.splitlines(keepends=True)[:-1]
    assert end_of([record_of(end)])["ended"] == ("done" if cut == 1 else "nothing left to do")


@pytest.mark.parametrize(("kind", "overrides"), [(Path, []), (str, ["train.learning_rate=0.5"])])
def test_resuming_a_finished_run_changes_no_file(kind: type, overrides: list[str], own_run: Path) -> None:
    before = contents(own_run)
    events = list(resume(kind(own_run), read_overrides(overrides)))
    assert kinds(events) == "<>"
    assert events[-1].summary["ended"] == "nothing left to do"
    assert contents(own_run) == before


FINISHED = {
    (): "nothing left to do after 8 steps; best perplexity {best} in epoch 2 -> {run}; to continue, increase "
    "train.epochs with -o",
    ("train.max_steps=8",): "nothing left to do after 8 steps; best perplexity {best} in epoch 2 -> {run}; "
    "to continue, increase train.max_steps with -o",
    ("train.patience=1", "train.epochs=9"): "early stopping after 8 steps; best perplexity {best} in epoch 2 -> {run}; "
    "to continue, increase train.patience with -o",
}


@pytest.mark.parametrize("overrides", FINISHED)
def test_resuming_a_finished_run_says_how_to_continue(
    overrides: Sequence[str], own_run: Path, cli: Callable[..., Any]
) -> None:
    saved = checkpoint.load(own_run / "last.h5")
    checkpoint.save(own_run / "last.h5", dataclasses.replace(saved, meta=dataclasses.replace(saved.meta, since_best=1)))
    done = cli("train", "--resume", own_run, *(f"--set={override}" for override in overrides))
    assert done.code == 0
    best = f"{summary(own_run)['best']['perplexity']:.2f}"
    expected = f"finished already: {FINISHED[overrides]}".format(best=best, run=own_run)
    assert done.err.splitlines()[-2:] == [expected, f"next: captioner sample {own_run} -n 10"]


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 2], ids=["at the end", "before it"])
def test_a_run_killed_before_its_best_checkpoint_is_copied_gets_it(
    epochs: int, train_run: TrainRun, train_small: Callable[..., Any], new_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: RunFolder) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "keep_best", killed)
        with pytest.raises(KeyboardInterrupt):
            train_small(f"train.epochs={epochs}")
    assert (new_run / "last.h5").exists()
    assert not (new_run / "best.h5").exists()
    list(resume(new_run))
    uninterrupted = train_run(f"train.epochs={epochs}")
    assert history(new_run) == history(uninterrupted)
    assert checkpoint.load(new_run / "best.h5").meta == checkpoint.load(uninterrupted / "best.h5").meta
    assert_same_arrays(new_run, uninterrupted)


def test_an_edited_config_is_rejected(own_run: Path, cli: Callable[..., Any]) -> None:
    """The options of a run are in its checkpoint; an edited file would be ignored and overwritten."""
    config = own_run / "config.yaml"
    text = config.read_text()
    edited = text.replace("epochs: 2", "epochs: 4").replace("train:\n", "train: # slower\n")
    config.write_text(edited)
    before = contents(own_run)
    for command in ("--resume", "--resume-or-start"):
        done = cli("train", command, own_run)
        done.failed(2, f"{config}: expected the train.epochs of {own_run}/last.h5, got other values; the options of a ")
    assert contents(own_run) == before
    config.write_text("train: {epochs: [}")
    assert cli("train", "--resume", own_run).err.startswith(f"captioner: {config}:1: ")
    # Only options with another value than in the checkpoint and in this call are reported.
    config.write_text(edited.replace("hidden_dim: 16", "hidden_dim: 8"))
    done = cli("train", "--resume", own_run, "-o", "train.epochs=4", "-o", "train.log_every=7")
    assert done.err.startswith(f"captioner: {config}: expected the model.hidden_dim of ")
    config.write_text(edited)
    assert cli("train", "--resume", own_run, "-o", "train.epochs=4").code == 0
    assert config.read_text() == text.replace("epochs: 2", "epochs: 4")


def test_damaged_lines_of_the_history_are_left_out(own_run: Path, cli: Callable[..., Any]) -> None:
    lines = (own_run / "history.jsonl").read_text().splitlines()
    damaged = ["[" * 100_000, '{"kind": "step", "step": %s}' % ("9" * 400), "{}", lines[1].replace(":", ";", 1)]
    (own_run / "history.jsonl").write_text("\n".join([lines[0], *damaged, *lines[2:], "[", "]", '{"kind": "st']))
    done = cli("train", "--resume", own_run, "-o", "train.epochs=3")
    assert done.code == 0
    assert [line["step"] for line in history(own_run, "step")] == [1, *range(3, 13)]


def test_resuming_a_run_without_a_checkpoint_says_what_to_repeat(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_run / "history.jsonl", tmp_path)
    with pytest.raises(CheckpointError, match=r"last.h5 not found; the run ended before its first checkpoint: repeat"):
        next(resume(tmp_path))


def test_what_shapes_parameters_and_slots_cannot_be_changed(own_run: Path) -> None:
    for option, (value, problem) in {
        "train.update_rule": ("sgd", "expected adam as in .*, got sgd; start a new run"),
        "model.hidden_dim": (8, "expected 16 as in .*, got 8; start a new run"),
        "train.ema_decay": (0.9, "the run in .* has no EMA; start a new run"),
    }.items():
        with pytest.raises(ConfigError, match=f"^-o {option}: {problem}"):
            next(resume(own_run, {option: value, "train.epochs": 3}))


@pytest.fixture
def corpus(small: Sequence[str]) -> Corpus:
    whole = build_corpus(parse("", "", read_overrides(small)))
    return dataclasses.replace(whole, splits={name: whole.splits[name] for name in ("train", "val", "test")})


@pytest.fixture
def run(corpus: Corpus, cli: Callable[..., Any], small_model: Sequence[str], tmp_path: Path) -> Path:
    """A run on a prepared data set, which the test may replace."""
    write_prepared(tmp_path / "data.h5", corpus, {})
    more = ("-o", "train.max_steps=2", "--run", tmp_path / "run")
    done = cli("train", *small_model, "--data", tmp_path / "data.h5", *more)
    assert done.code == 0, done.err
    return tmp_path / "run"


def exchanged_features(corpus: Corpus, name: str) -> Corpus:
    """Exchange the features of two images: neither the mean nor the captions change."""
    split = corpus.splits[name]
    features = split.features[:].copy()
    features[[3, 4]] = features[[4, 3]]
    return dataclasses.replace(corpus, splits={**corpus.splits, name: dataclasses.replace(split, features=features)})


CHANGED: dict[str, Callable[[Corpus], Corpus]] = {
    "removed validation split": lambda c: dataclasses.replace(c, splits={"train": c.splits["train"]}),
    "exchanged photographs of train": partial(exchanged_features, name="train"),
    "exchanged photographs of val": partial(exchanged_features, name="val"),
}
"""`tests/data/test_corpus.py` has what changes a digest."""


def test_a_changed_data_set_is_rejected_and_the_run_stays_unchanged(
    corpus: Corpus, run: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    before = contents(run)
    for name, change in CHANGED.items():
        write_prepared(tmp_path / "data.h5", change(corpus), {})
        done = cli("train", "--resume", run, "-o", "train.max_steps=4")
        assert (done.code, done.out) == (2, ""), name
        assert done.err == (
            f"captioner: {run}/last.h5: the data set has changed since training began, so the run cannot be resumed; "
            "restore it, or start a new run\n"
        ), name
        assert contents(run) == before, name
    write_prepared(tmp_path / "data.h5", corpus, {"prepared": "again"})
    assert cli("train", "--resume", run, "-o", "train.max_steps=4").code == 0


def test_resuming_warns_of_another_environment(cli: Callable[..., Any], own_run: Path) -> None:
    last = own_run / "last.h5"
    assert checkpoint.load(last).meta.environment == environment(2)
    same = cli("train", "--resume", own_run, "-o", "train.epochs=3")
    assert (same.code, "changed since" in same.err) == (0, False)
    other = cli("train", "--resume", own_run, "-o", "train.epochs=4", "-o", "threads=1")
    assert other.code == 0
    assert "\nwarning: changed since the checkpoint was saved: threads 2 to 1; training continues, " in other.err
    saved = checkpoint.load(last)
    assert saved.meta.environment == environment(1)
    checkpoint.save(
        last, dataclasses.replace(saved, meta=dataclasses.replace(saved.meta, environment=dict.fromkeys(LABELS, "7")))
    )
    (warning,) = (line for line in cli("train", "--resume", own_run).err.splitlines() if "changed since" in line)
    assert all(f" {label} 7 to " in warning for label in LABELS.values())
