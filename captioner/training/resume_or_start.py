"""Resume a run or start it: the command of a scheduler, which repeats it after every interruption."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from captioner.config.options import Config
from captioner.config.schema import options
from captioner.config.yaml_io import dump
from captioner.inference.restore import restore
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks
from captioner.storage.files import read_json_object
from captioner.training.events import Ended, Event, Warned
from captioner.training.resumable import find_run, recover_last
from captioner.training.run_folder import RunFolder
from captioner.training.train import resume, train

FINAL = ("done", "early stopping", "nothing left to do")
"""The ends after which nothing is left to do, as in summary.json."""


class Found(NamedTuple):
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
    found = ranks.on_rank_0(lambda: _find(run, config, overrides))
    if found is None:
        yield from train(config, folder, overwrite=True, stop=stop, ranks=ranks)
        return
    if found.other_options:
        yield Warned(
            found.step,
            f"{run.path}: the run continues with its own config, in which {', '.join(found.other_options)} differ from "
            "the given one; options that can change are set with -o",
        )
    if found.summary is not None:
        yield Ended(run.path, found.summary)
        return
    yield from resume(folder, overrides, stop, ranks)


def _find(run: RunFolder, config: Config, overrides: Sequence[str]) -> Found | None:
    """Return the run that has a checkpoint, or None."""
    recover_last(run)
    if not run.last.exists() and not run.captions.exists():
        return None
    restored = restore(find_run(run.path).last, overrides, for_training=False)
    is_same = dump(restored.config) == restored.meta.config
    summary = _summary(run) if is_same else None
    has_ended = summary is not None and summary["steps"] == restored.meta.step and summary["ended"] in FINAL
    values = ((option.path, attrgetter(option.path)) for option in options())
    names = [path for path, value in values if value(restored.config) != value(config)]
    return Found(restored.meta.step, summary if has_ended else None, names)


def _summary(run: RunFolder) -> dict[str, Any] | None:
    """Return the summary of a run; None if it is missing or is not one."""
    summary = read_json_object(run.summary)
    return summary if {"steps", "ended", "best", "seconds", "words_per_second", "profile"} <= summary.keys() else None
