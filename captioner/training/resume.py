"""Resume a run, or the run that a scheduler repeats after every interruption; the result is bit-identical."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from captioner.config.option_table import OPTIONS
from captioner.config.options import Config
from captioner.config.values import write
from captioner.config.yaml_io import dump, load, parse
from captioner.errors import CheckpointError, ConfigError, UsageError
from captioner.files.atomic import write_atomically
from captioner.files.checkpoint import Meta
from captioner.files.user_files import read_json_object
from captioner.inference.find_checkpoint import nearest_runs
from captioner.inference.load import open_corpus
from captioner.inference.restore import FIXED, Restored, restore
from captioner.optim.update_rules import EMA, UPDATE_RULES
from captioner.parallel.environment import changes, environment
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks
from captioner.training.events import Ended, Event, Warned
from captioner.training.learned_captions import captions_digest, learned_corpus
from captioner.training.recorder import Recorder
from captioner.training.run_folder import RunFolder, damaged_lines, locked, records
from captioner.training.solver import TrainState
from captioner.training.train import Training, same_probe, train

FINAL = ("done", "early stopping", "nothing left to do")
"""The ends after which nothing is left to do, as in summary.json."""


def resume(
    folder: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    stop: Callable[[], bool] = lambda: False,
    ranks: Ranks = SINGLE_PROCESS,
) -> Iterator[Event]:
    """Resume a run from its last checkpoint; the result equals that of an uninterrupted run.

    Raises: UsageError, DataError, DivergenceError, CheckpointError.
    """
    run = find_run(folder, ranks)
    restored = restore(run.last, overrides)
    config = restored.config
    ranks.on_rank_0(lambda: check_config(run, restored))
    corpus = open_corpus(restored)
    expected, got = expected_slots(config), restored.slots.keys()
    if set(expected) != got:
        raise CheckpointError(f"{run.last}: slots: expected {', '.join(expected)}, got {', '.join(got) or 'none'}")
    fingerprint, probe = corpus.fingerprint(), corpus.probe()
    check_same_data(run.last, restored.meta, fingerprint, corpus.content, probe)
    learned, warnings = learned_corpus(config, corpus)
    digest = captions_digest(learned.split("train"))
    if digest != restored.meta.learned:
        raise UsageError(
            f"{run.last}: the captions of data.captions have changed since training began, so the run cannot be "
            "resumed; restore them, or start a new run"
        )
    model = restored.model.with_params(restored.params)
    state = TrainState(model.params, restored.slots, restored.meta.step)
    validated = restored.meta.best, restored.meta.since_best
    card = restored.meta.card
    recorder = Recorder(config, run, corpus, fingerprint, probe, digest, model, state, *validated, card=card)
    if restored.familiarity is not None:  # computed again, it may differ by rounding, and costs seconds
        recorder.familiarity = restored.familiarity._asdict()
    warnings += [*changes(restored.meta.environment, environment(config.threads, ranks.size))]
    warnings += ranks.on_rank_0(lambda: list(damaged_lines(run.history, records(run.history))))
    training = Training(recorder, learned, warnings)
    run.claim()
    if state.step >= training.plan.span.total_steps:
        recorder.load_best_at_end()
    else:
        if restored.meta.config != dump(config):
            recorder.forget_later_best()
            # After a kill during the rest, `resume` continues with the new options: no config.yaml contradicts them.
            run.remove_config()
            recorder.save()
        run.reopen(restored.meta.step, has_best=recorder.best is not None)
        run.write(run.config, dump(config))
    yield from training.events(stop)


class ExistingRun(NamedTuple):
    """The run in a folder: its step, the summary if it has ended, and the options that a new run would have instead."""

    step: int
    summary: dict[str, Any] | None
    other_options: list[str]


def resume_or_start(
    config: Config,
    folder: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    stop: Callable[[], bool] = lambda: False,
    ranks: Ranks = SINGLE_PROCESS,
) -> Iterator[Event]:
    """Resume the run in a folder if it has a checkpoint, else train a new model there.

    `config` is that of a new run. A run that has a checkpoint keeps its own config, with `overrides`. If it has ended,
    that is the only event.

    Raises: as `train` and `resume`.
    """
    run = RunFolder(Path(folder), ranks)
    existing = ranks.on_rank_0(lambda: _existing_run(run, config, overrides))
    if existing is None:
        yield from train(config, folder, stop=stop, ranks=ranks)
        return
    if existing.other_options:
        names = ", ".join(existing.other_options)
        yield Warned(
            existing.step,
            f"{run.path}: the run continues with its own config, in which {names} differ from the given one; "
            "options that can change are set with -o",
        )
    if existing.summary is not None:
        yield Ended(run.path, existing.summary)
        return
    yield from resume(folder, overrides, stop, ranks)


def _existing_run(run: RunFolder, config: Config, overrides: Sequence[str]) -> ExistingRun | None:
    """Return the run that has a checkpoint, or None."""
    recover_last(run)
    if not run.last.exists():
        return None
    restored = restore(find_run(run.path).last, overrides, for_training=False)
    check_config(run, restored)
    summary = _summary(run) if dump(restored.config) == restored.meta.config else None
    has_ended = summary is not None and summary["steps"] == restored.meta.step and summary["ended"] in FINAL
    values = ((path, attrgetter(path)) for path in OPTIONS)
    names = [path for path, value in values if value(restored.config) != value(config)]
    return ExistingRun(restored.meta.step, summary if has_ended else None, names)


def check_config(run: RunFolder, restored: Restored) -> None:
    """Check that config.yaml, if it exists, has the options of the run, with or without the overrides of this call.

    Raises: ConfigError for other options: they would have no effect, and the file would be overwritten.
    """
    if not run.config.exists():
        return
    edited, saved = load(run.config), parse(restored.meta.config, f"the config in {restored.path}")
    problems = []
    for path, option in OPTIONS.items():
        expected, now, got = (attrgetter(path)(config) for config in (saved, restored.config, edited))
        if got in (expected, now):
            continue
        remedy = f"or try -o {shlex.quote(f'{path}={write(option, got)}')}"
        remedy = "or start a new run with it" if path in FIXED else remedy
        problems.append(
            f"{run.config}: {path}: expected {write(option, expected)} as in {restored.path}, got "
            f"{write(option, got)}; the options of a run are not read from this file: change it back, {remedy}"
        )
    if problems:
        raise ConfigError(problems)


def _summary(run: RunFolder) -> dict[str, Any] | None:
    """Return the summary of a run; None if it is missing or is not one."""
    summary = read_json_object(run.summary)
    return summary if {"steps", "ended", "best", "seconds", "words_per_second", "profile"} <= summary.keys() else None


def find_run(folder: str | os.PathLike[str], ranks: Ranks = SINGLE_PROCESS) -> RunFolder:
    """Return the run folder at a path; a missing last checkpoint is recovered from the best one.

    Raises: UsageError or CheckpointError when it cannot be resumed.
    """
    run = RunFolder(Path(folder), ranks)
    parent = os.path.dirname(folder) or "."
    if os.path.isfile(folder) and (Path(parent) / run.last.name).exists():
        raise UsageError(f"{folder}: expected a run folder, got a file; try --resume {shlex.quote(parent)}")
    ranks.on_rank_0(lambda: recover_last(run))
    if run.last.exists():
        return run
    expected = f"expected a folder written by `captioner train`{nearest_runs(run.path)}"
    if run.saved_config() is not None:
        expected = "the run ended before its first checkpoint: repeat the command that started it"
    raise CheckpointError(f"{folder}: {run.last.name} not found; {expected}")


def recover_last(run: RunFolder) -> None:
    """Undo what a kill left in a run folder.

    The files of a run that was being overwritten are moved back. best.h5 is copied to a missing last.h5: the first
    best.h5 is written before the first last.h5.

    Raises: CheckpointError when best.h5 is not a whole checkpoint; UsageError when another process trains in the
    folder.
    """
    if run.half_moved():
        with locked(run.path):
            run.move_back()
    if run.last.exists() or not run.best.exists():
        return
    restore(run.best)
    with locked(run.path), run.writing(run.last):
        write_atomically(run.last, run.best.read_bytes())


def expected_slots(config: Config) -> list[str]:
    """Return the names of the slots of a run: those of its update rule, and the EMA if it has one."""
    rule = UPDATE_RULES[config.train.update_rule]
    return [*rule.slots, *([EMA] if config.train.ema_decay is not None else [])]


def check_same_data(where: Path, meta: Meta, fingerprint: str, content: str, probe: Sequence[float]) -> None:
    """Raises: UsageError when the data set is not that of the checkpoint, CheckpointError for an invalid probe."""
    changed = "captions, images or splits" if fingerprint != meta.fingerprint else ""
    if not changed and len(probe) != len(meta.probe):
        raise CheckpointError(f"{where}: meta: probe: expected {len(probe)} numbers, got {len(meta.probe)}")
    if not changed and not same_probe(probe, meta.probe):
        changed = "features or regions" if meta.region_dim else "features"
    if not changed and meta.content != content:
        changed = "features, regions or raw captions" if meta.region_dim else "features or raw captions"
    if changed:
        raise UsageError(
            f"{where}: the {changed} have changed since training began, so the run cannot be resumed; "
            "restore them, or start a new run"
        )
