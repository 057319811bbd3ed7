"""Resume a run, or the run that a scheduler repeats after every interruption; the result is bit-identical."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

from captioner.captioning.find_checkpoint import nearest_runs
from captioner.captioning.load import open_corpus
from captioner.captioning.saved_model import SavedModel, open_checkpoint
from captioner.config.options import Config
from captioner.config.overrides import NONE, Values, differences, from_record
from captioner.config.yaml_io import dump, load
from captioner.data.corpus import captions_digest
from captioner.errors import CheckpointError, ConfigError, UsageError
from captioner.optim import EMA, UPDATE_RULES
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks
from captioner.training.initialize import shaped_like
from captioner.training.learned_captions import learned_corpus
from captioner.training.run import Run, changes, environment
from captioner.training.run_folder import FolderLock, RunFolder, end_of, records
from captioner.training.solver import TrainState
from captioner.training.train import Ended, Event, Warned, events, train

FINAL = ("done", "early stopping", "nothing left to do")
"""The ends after which nothing is left to do, as in the history."""


def resume(
    folder: str | os.PathLike[str],
    overrides: Values = NONE,
    stop: Callable[[], bool] = lambda: False,
    ranks: Ranks = SINGLE_PROCESS,
) -> Iterator[Event]:
    """Resume a run from its last checkpoint; the result equals that of an uninterrupted run.

    Raises: UsageError, DataError, DivergenceError, CheckpointError.
    """
    run_folder = find_run(folder, ranks)
    opened = open_checkpoint(run_folder.last, overrides)
    ranks.on_rank_0(lambda: check_config(run_folder, opened))
    run = resumed_run(run_folder, opened)
    run_folder.claim()
    if run.state.step < run.plan.span.total_steps:
        if run.config != from_record(opened.meta.config):
            # After a kill during the rest, `resume` continues with the new options: no config.yaml contradicts them.
            run_folder.remove_config()
            run.save()
        run_folder.forget_after(run.state.step)
        run_folder.write(run_folder.config, dump(run.config))
    run.keep_best()
    yield from events(run, stop)


def resumed_run(folder: RunFolder, opened: SavedModel) -> Run:
    """Continue from a checkpoint, without writing to the folder. Raises: as `resume`."""
    config, meta = opened.config, opened.meta
    corpus = open_corpus(opened)
    if corpus.digest != meta.data_digest:
        raise UsageError(
            f"{folder.last}: the data set has changed since training began, so the run cannot be resumed; "
            "restore it, or start a new run"
        )
    learned, warnings = learned_corpus(config, corpus)
    if captions_digest(learned.split("train")) != meta.learned:
        raise UsageError(
            f"{folder.last}: the captions of data.captions have changed since training began, so the run cannot be "
            "resumed; restore them, or start a new run"
        )
    ema, got = [EMA] if config.train.ema_decay is not None else [], opened.saved.slots.keys()
    expected = [*UPDATE_RULES[config.train.update_rule].slots, *ema]
    if set(expected) != got:
        raise CheckpointError(f"{folder.last}: slots: expected {', '.join(expected)}, got {', '.join(got) or 'none'}")
    warnings += [*changes(meta.environment, environment(config.threads, folder.ranks.size))]
    model = opened.model.with_params(opened.saved.params)
    state = TrainState(model.params, opened.saved.slots, meta.step)
    run = Run(
        *(config, folder, corpus, learned, model, state),
        best=meta.best,
        since_best=meta.since_best,
        warnings=warnings,
        card=opened.card,
    )
    if opened.saved.summary:  # computed again, it may differ by rounding, and costs seconds
        run.summary_arrays = opened.saved.summary
    return run


def resume_or_start(
    config: Config,
    folder: str | os.PathLike[str],
    overrides: Values = NONE,
    stop: Callable[[], bool] = lambda: False,
    ranks: Ranks = SINGLE_PROCESS,
) -> Iterator[Event]:
    """Resume the run in a folder if it has a checkpoint, else train a new model there.

    `config` is that of a new run. A run that has a checkpoint keeps its own config, with `overrides`. If it has ended,
    that is the only event.

    Raises: as `train` and `resume`.
    """
    run_folder = RunFolder(Path(folder), ranks)
    existing = ranks.on_rank_0(lambda: _existing_run(run_folder, config, overrides))
    if existing is None:
        yield from train(config, folder, stop=stop, ranks=ranks)
        return
    yield from existing
    if not any(isinstance(event, Ended) for event in existing):
        yield from resume(folder, overrides, stop, ranks)


def _existing_run(folder: RunFolder, config: Config, overrides: Values) -> list[Event] | None:
    """Return a warning if a new run would have other options, and the end if nothing is left to do.

    Returns None if there is no checkpoint.
    """
    if not folder.last.exists():
        return None
    opened = open_checkpoint(folder.last, overrides, for_training=False)
    check_config(folder, opened)
    config = shaped_like(config, opened.config) if config.train.init_from else config
    events: list[Event] = []
    if names := ", ".join(differences(opened.config, config)):
        problem = f"the run continues with its own config, in which {names} differ from the given one"
        remedy = "options that can change are set with -o"
        events.append(Warned(opened.meta.step, f"{folder.path}: {problem}; {remedy}"))
    end = end_of(records(folder.history))
    is_extended = opened.config != from_record(opened.meta.config)
    if end.get("ended") in FINAL and end["step"] == opened.meta.step and not is_extended:
        events.append(Ended(folder.path, end))
    return events


def check_config(folder: RunFolder, opened: SavedModel) -> None:
    """Check that config.yaml, if it exists, has the options of the run, with or without the overrides of this call.

    Raises: ConfigError for other options: they would have no effect, and the file would be overwritten.
    """
    if not folder.config.exists():
        return
    edited, saved = load(folder.config), from_record(opened.meta.config)
    from_now = differences(edited, opened.config)
    if others := [path for path in differences(edited, saved) if path in from_now]:
        raise ConfigError([
            f"{folder.config}: expected the {', '.join(others)} of {opened.path}, got other values; the options of a "
            "run are not read from this file: change it back, and set options with -o"
        ])  # fmt: skip


def find_run(folder: str | os.PathLike[str], ranks: Ranks = SINGLE_PROCESS) -> RunFolder:
    """Return the run folder at a path. Raises: UsageError or CheckpointError when it cannot be resumed."""
    run = RunFolder(Path(folder), ranks)
    parent = os.path.dirname(folder) or "."
    if os.path.isfile(folder) and (Path(parent) / run.last.name).exists():
        raise UsageError(f"{folder}: expected a run folder, got a file; try --resume {shlex.quote(parent)}")
    if run.last.exists():
        return run
    expected = f"expected a folder written by `captioner train`{nearest_runs(run.path)}"
    if run.history.exists():
        ranks.on_rank_0(lambda: str(FolderLock(run.path)))  # its process may not have saved a checkpoint yet
        expected = "the run ended before its first checkpoint: repeat the command that started it"
    raise CheckpointError(f"{folder}: {run.last.name} not found; {expected}")
