"""Training in a run folder: events, files, checkpoints, resumption and errors."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_arrays import assert_same_arrays

import captioner
from captioner.arrays import Batch
from captioner.config.options import Config
from captioner.config.yaml_io import parse
from captioner.data.batches import ShuffledBatches
from captioner.errors import CaptionerError, CheckpointError, ConfigError, DataError, DivergenceError, UsageError
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.parallel.ranks import Reduce
from captioner.parallel.thread_pool import ThreadPool
from captioner.preparation.load_corpus import build_corpus
from captioner.storage import checkpoint
from captioner.storage.atomic import write_atomically
from captioner.training import train as use_case
from captioner.training import validation
from captioner.training.events import Ended, Event, Started, Validated, Warned
from captioner.training.solver import Step
from captioner.training.train import resume, train

PER_EPOCH = 4
FILES = ["best.h5", "config.yaml", "history.jsonl", "last.h5", "summary.json"]


@pytest.fixture(scope="module")
def config(small: Sequence[str]) -> Callable[..., Config]:
    return lambda *overrides: parse("", "", [*small, "train.log_every=1", *overrides])


@pytest.fixture
def events(config: Callable[..., Config], tmp_path: Path) -> Callable[..., list[Event]]:
    return lambda *overrides, **how: list(train(config(*overrides), tmp_path / "run", **how))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def history(run: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


LETTERS = {Started: "<", Step: "s", Validated: "v", Warned: "w", Ended: ">"}


def kinds(events: list[Event]) -> str:
    """One letter per event."""
    return "".join(LETTERS[type(event)] for event in events)


def saved_steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Return a list that records the file and step of every checkpoint written."""
    saves, save = [], checkpoint.save

    def recorded(path: Path, saved: checkpoint.Checkpoint, *check: Callable[[], None]) -> None:
        saves.append((path.name, saved.meta.step))
        save(path, saved, *check)

    monkeypatch.setattr(checkpoint, "save", recorded)
    return saves


def scripted_losses(monkeypatch: pytest.MonkeyPatch, *losses: float) -> None:
    script = iter(losses)
    monkeypatch.setattr(validation, "mean_word_loss", lambda *_: next(script))


def test_the_order_of_events(events, run: Path) -> None:
    seen = events("train.epochs=2")
    assert kinds(seen) == "<ssssvssssv>"
    started, ended = seen[0], seen[-1]
    assert isinstance(started, Started)
    assert isinstance(ended, Ended)
    assert (started.step, started.total_steps, started.steps_per_epoch) == (0, 2 * PER_EPOCH, PER_EPOCH)
    params = checkpoint.load(run / "last.h5").params
    assert started.parameters == ended.summary["parameters"] == sum(w.size for w in params.values())
    assert ended.summary == json.loads((run / "summary.json").read_text())
    assert sorted(path.name for path in run.iterdir()) == FILES


def test_the_effective_config_is_saved(events, config, run: Path) -> None:
    events("train.epochs=1", "seed=5")
    assert parse((run / "config.yaml").read_text(), "") == config("train.epochs=1", "seed=5")
    assert parse(checkpoint.load(run / "last.h5").meta.config, "") == config("train.epochs=1", "seed=5")


def test_the_history_has_one_record_per_step_and_validation(events, run: Path) -> None:
    seen = events("train.epochs=2")
    steps = [event for event in seen if isinstance(event, Step)]
    assert history(run, "step") == [
        {"kind": "step", **{name: value for name, value in s._asdict().items() if name != "metrics"}, **s.metrics}
        for s in steps
    ]
    validations = [event for event in seen if isinstance(event, Validated)]
    assert [(v.step, v.epoch) for v in validations] == [(4, 1), (8, 2)]
    assert history(run, "validation") == [
        {"kind": "validation", **v._asdict(), "perplexity": math.exp(v.loss)} for v in validations
    ]


@pytest.mark.parametrize(("every", "logged"), [(3, [3, 4, 6, 8, 9, 10]), (100, [4, 8, 10])])
def test_every_nth_step_and_the_last_of_each_epoch_are_logged(every: int, logged: list[int], events, run: Path) -> None:
    events(f"train.log_every={every}", "train.max_steps=10")
    assert [line["step"] for line in history(run, "step")] == logged


def test_the_summary(events, run: Path) -> None:
    events("train.epochs=2")
    summary = json.loads((run / "summary.json").read_text())
    best = min(history(run, "validation"), key=lambda line: line["loss"])
    assert summary["best"] == {name: best[name] for name in ("step", "epoch", "loss", "perplexity")}
    assert (summary["ended"], summary["steps"], summary["steps_this_time"]) == ("done", 8, 8)
    assert summary["words_per_second"] > 0
    assert summary["versions"].keys() == {"captioner", "python", "numpy", "h5py"}
    assert summary["versions"]["captioner"] == captioner.__version__


PROFILE = ["reading", "forward", "backward", "update", "validation", "saving", "other"]


def test_the_summary_has_a_time_profile(events, run: Path) -> None:
    events("train.epochs=2")
    summary = json.loads((run / "summary.json").read_text())
    assert list(summary["profile"]) == PROFILE
    assert min(summary["profile"].values()) >= 0
    assert sum(summary["profile"].values()) == pytest.approx(summary["seconds"], abs=0.001 * len(PROFILE))
    assert all(seconds == round(seconds, 3) for seconds in summary["profile"].values())


def test_the_profile_separates_the_phases(config, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def with_duration(owner: Any, name: str, seconds: float) -> None:
        work = getattr(owner, name)

        def timed(*args: Any, **options: Any) -> Any:
            clock[0] += seconds
            return work(*args, **options)

        monkeypatch.setattr(owner, name, timed)

    monkeypatch.setattr("captioner.training.stopwatch.perf_counter", lambda: clock[0])
    monkeypatch.setattr("captioner.training.train.time.perf_counter", lambda: clock[0])
    with_duration(ShuffledBatches, "batch", 1)
    with_duration(CaptioningRNN, "forward", 10)
    with_duration(CaptioningRNN, "backward", 100)
    with_duration(validation, "mean_word_loss", 1000)
    with_duration(use_case, "recheck_loss", 10_000)
    with_duration(checkpoint, "save", 100_000)
    for event in train(config("train.epochs=2"), run):
        clock[0] += 0 if isinstance(event, Ended) else 1_000_000
    # recheck_loss also reads; both validations were the best so far
    assert json.loads((run / "summary.json").read_text())["profile"] == {
        "reading": 8,
        "forward": 80,
        "backward": 800,
        "update": 0,
        "validation": 2000,
        "saving": 2 * 10_000 + 2 + 4 * 100_000,
        "other": (1 + 8 + 2) * 1_000_000,
    }


def test_checkpoints_every_epoch_and_every_few_steps(events, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saves = saved_steps(monkeypatch)
    scripted_losses(monkeypatch, 3.0, 3.5, 2.5)
    events("train.max_steps=10", "train.save_every=3")
    assert [step for name, step in saves if name == "last.h5"] == [3, 4, 6, 8, 9, 10]
    assert [step for name, step in saves if name == "best.h5"] == [4, 10]


def test_the_best_checkpoint_has_the_lowest_validation_loss(events, run: Path, monkeypatch) -> None:
    scripted_losses(monkeypatch, 3.0, 2.0, 2.5, 2.0)
    seen = events("train.epochs=4")
    assert [event.best for event in seen if isinstance(event, Validated)] == [True, True, False, False]
    best, last = checkpoint.load(run / "best.h5").meta, checkpoint.load(run / "last.h5").meta
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


def test_early_stopping(events, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted_losses(monkeypatch, 3.0, 2.0, 2.1, 1.9, 2.5, 2.2)
    seen = events("train.epochs=9", "train.patience=2")
    assert seen[-1].summary["ended"] == "early stopping"
    assert seen[-1].summary["steps"] == 6 * PER_EPOCH
    assert checkpoint.load(run / "last.h5").meta.step == 6 * PER_EPOCH
    assert checkpoint.load(run / "best.h5").meta.step == 4 * PER_EPOCH


def test_a_run_whose_patience_ends_with_its_last_epoch_is_done(events, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted_losses(monkeypatch, 2.0, 2.1, 2.2)
    assert events("train.epochs=3", "train.patience=2")[-1].summary["ended"] == "done"


def test_a_run_that_stopped_early_resumes_with_more_patience(events, run: Path, monkeypatch) -> None:
    scripted_losses(monkeypatch, 2.0, 2.1, 2.2, 2.3, 2.4)
    events("train.epochs=9", "train.patience=1")
    assert kinds(list(resume(run))) == "<>"
    assert list(resume(run, ["train.patience=3"]))[-1].summary["steps"] == 4 * PER_EPOCH


def test_validation_options(events, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def record_size(model: CaptioningRNN, batches: Iterator[Batch], pool: ThreadPool, reduce: Reduce) -> float:
        sizes.append(sum(len(batch.captions) for batch in batches))
        return 1.0

    monkeypatch.setattr(validation, "mean_word_loss", record_size)
    seen = events("train.max_steps=17", "validate.every=2", "validate.split=heldout", "validate.max_captions=7")
    assert [(event.step, event.epoch) for event in seen if isinstance(event, Validated)] == [(8, 2), (16, 4), (17, 5)]
    assert sizes == [7, 7, 7]
    events("train.max_steps=1", "validate.split=test", overwrite=True)
    assert sizes[3:] == [25]


def test_validation_does_not_change_training(events, run: Path, tmp_path: Path, config) -> None:
    dropout = ("model.dropout_embedding=0.3", "model.dropout_hidden=0.3", "train.max_steps=8")
    events(*dropout)
    list(train(config(*dropout, "validate.every=100", "validate.split=test"), tmp_path / "other"))
    assert_same_arrays(run, tmp_path / "other")


def test_files_are_byte_identical_for_the_same_seed_and_config(events, run: Path, tmp_path: Path, config) -> None:
    options = (
        "train.max_steps=6",
        "model.dropout_features=0.3",
        "model.dropout_embedding=0.3",
        "model.dropout_hidden=0.3",
    )
    events(*options)
    list(train(config(*options), tmp_path / "again"))
    for name in ("best.h5", "last.h5", "history.jsonl", "config.yaml"):
        assert (run / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    list(train(config(*options, "seed=1"), tmp_path / "other"))
    assert history(run, "step")[0]["loss"] != history(tmp_path / "other", "step")[0]["loss"]


def test_stop_saves_a_checkpoint_and_ends(events, run: Path) -> None:
    calls: list[int] = []
    seen = events("train.epochs=3", stop=lambda: calls.append(1) or len(calls) == 6)
    assert kinds(seen) == "<ssssvss>"
    assert seen[-1].summary["ended"] == "stopped"
    assert checkpoint.load(run / "last.h5").meta.step == 6


def test_standardization_is_saved_with_the_model(events, run: Path) -> None:
    events("data.standardize=true", "train.max_steps=1")
    saved = checkpoint.load(run / "last.h5").standardizer
    assert saved.keys() == {"mean", "std"}
    assert list(resume(run, ["train.max_steps=2"]))[-1].summary["steps"] == 2


@pytest.mark.smoke
@pytest.mark.parametrize("rule", ["sgd", "sgd_momentum", "rmsprop", "adam", "adamw"])
def test_every_update_rule_can_be_resumed(rule: str, events, config, run: Path, tmp_path: Path) -> None:
    options = (f"train.update_rule={rule}", "train.learning_rate=0.01", "model.cell=rnn")
    events(*options, "train.max_steps=2")
    list(resume(run, ["train.max_steps=4"]))
    list(train(config(*options, "train.max_steps=4"), tmp_path / "uninterrupted"))
    assert_same_arrays(run, tmp_path / "uninterrupted")


# --- errors


EARLY_ERRORS = {
    "unknown_split": (["validate.split=dev"], DataError, r"\(train, val, test, heldout\), got dev; try -o validate"),
    "too_large": (["model.hidden_dim=100000"], UsageError, "expected at most 1,000,000,000 parameters"),
    "no_data": (["data.source=cs231n", "data.root=/nowhere"], DataError, "/nowhere"),
}


@pytest.mark.parametrize("name", EARLY_ERRORS)
def test_an_error_before_training_leaves_the_existing_run_unchanged(name: str, own_run: Path, config) -> None:
    overrides, kind, message = EARLY_ERRORS[name]
    before = {path.name: path.read_bytes() for path in own_run.iterdir()}
    with pytest.raises(kind, match=message):
        list(train(config(*overrides), own_run, overwrite=True))
    assert {path.name: path.read_bytes() for path in own_run.iterdir()} == before


def test_a_run_is_not_overwritten_uncalls(events, run: Path) -> None:
    events("train.max_steps=1")
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(UsageError, match="already contains a run"):
        events("train.max_steps=2")
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    events("train.max_steps=2", overwrite=True)
    assert checkpoint.load(run / "last.h5").meta.step == 2


def diverge_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    real, calls = CaptioningRNN.forward, []

    def forward(*args: Any, **options: Any) -> tuple[Any, Any]:
        calls.append(1)
        losses, cache = real(*args, **options)
        return (losses._replace(loss=math.nan) if len(calls) == step else losses), cache

    monkeypatch.setattr(CaptioningRNN, "forward", forward)


def test_a_diverging_run_keeps_the_checkpoint_before_the_divergence(
    events, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverge_at(monkeypatch, 6)
    with pytest.raises(DivergenceError, match=rf"^step 6: training diverged: .*{run}/last.h5 contains step 4, before"):
        events("train.epochs=3")
    assert checkpoint.load(run / "last.h5").meta.step == 4
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["ended"], summary["steps"]) == ("diverged", 5)


def test_divergence_before_the_first_checkpoint(events, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    diverge_at(monkeypatch, 2)
    with pytest.raises(DivergenceError, match=r"^step 2: .*; no checkpoint yet$"):
        events("train.epochs=3")
    assert not (run / "last.h5").exists()


def test_a_non_finite_validation_loss_is_divergence(events, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted_losses(monkeypatch, 2.0, math.nan)
    with pytest.raises(DivergenceError, match=r"^step 8: training diverged: .* got nan; try a smaller"):
        events("train.epochs=3")
    assert checkpoint.load(run / "last.h5").meta.step == 4


@pytest.mark.filterwarnings("ignore:.*encountered in")
@pytest.mark.parametrize("rate", ["1e20", "1e39"])
def test_the_checkpoint_of_a_diverging_run_is_finite(rate: str, events, run: Path) -> None:
    with pytest.raises(DivergenceError) as caught:
        events(f"train.learning_rate={rate}", "train.save_every=1", "train.clip_norm=null")
    if (run / "last.h5").exists():
        assert all(np.isfinite(w).all() for w in checkpoint.load(run / "last.h5").params.values())
        assert "last.h5" in str(caught.value)
    else:
        assert "no checkpoint yet" in str(caught.value)


def test_a_full_disk_keeps_the_last_checkpoint(own_run: Path, files_of_at_most: Callable[[int], Any]) -> None:
    before = {name: (own_run / name).read_bytes() for name in ("last.h5", "best.h5")}
    with files_of_at_most(50_000), pytest.raises(CheckpointError, match=r"h5: cannot write .*: File too large"):
        list(resume(own_run, ["train.epochs=3"]))
    assert {name: (own_run / name).read_bytes() for name in before} == before
    assert list(resume(own_run, ["train.epochs=3"]))[-1].summary["steps"] == 12


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


def test_resuming_a_finished_run_changes_only_the_summary(own_run: Path) -> None:
    before = {path.name: path.read_bytes() for path in own_run.iterdir()}
    assert kinds(list(resume(own_run))) == "<>"
    after = {path.name: path.read_bytes() for path in own_run.iterdir()}
    assert {name for name in after if after[name] != before[name]} <= {"summary.json"}


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


def test_a_source_without_a_truth_check_can_be_trained_on(config, monkeypatch: pytest.MonkeyPatch, run: Path) -> None:
    corpus = build_corpus(config())
    splits = {name: dataclasses.replace(split, is_true=None) for name, split in corpus.splits.items()}
    monkeypatch.setattr(use_case, "build_corpus", lambda _: dataclasses.replace(corpus, splits=splits))
    assert kinds(list(train(config("train.max_steps=1"), run))) == "<sv>"


def test_resuming_a_finished_run_changes_no_file(own_run: Path) -> None:
    before = {name: (own_run / name).read_bytes() for name in FILES}
    events = list(resume(str(own_run), ["train.learning_rate=0.5"]))
    assert kinds(events) == "<>"
    assert events[-1].summary["ended"] == "nothing left to do"
    assert {name: (own_run / name).read_bytes() for name in FILES} == before


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
