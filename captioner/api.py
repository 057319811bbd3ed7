"""The Python API: functions that do what the commands of the same name do."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from captioner.captioning.captioner import Captioner
from captioner.captioning.find_checkpoint import DEFAULT_MODEL
from captioner.captioning.load import ModelPath, open_runs
from captioner.config.options import Config
from captioner.config.overrides import NONE, Values, checked_values, override
from captioner.config.yaml_io import load as load_config
from captioner.errors import UsageError
from captioner.evaluation.evaluate import evaluate_split, open_captioners
from captioner.photos.captioner import PhotoCaptioner
from captioner.training import resume as resuming
from captioner.training import train as training
from captioner.training.train import Event

__all__ = ["evaluate", "load", "resume", "train"]


def train(
    config: Config | str | os.PathLike[str] | None,
    folder: str | os.PathLike[str],
    overrides: Values = NONE,
    overwrite: bool = False,
) -> PhotoCaptioner:
    """Train a model into a new run folder, and return a Captioner of its best checkpoint.

    `config` is a YAML file, the name of a shipped config, a Config, or None for the defaults; `overrides` are values
    of options, such as `{"train.epochs": 3}`. For the events of training, such as the loss of each step, use
    `captioner.training.train.train`.

    Raises: ConfigError, UsageError, DataError, DivergenceError, CheckpointError.
    """
    values = checked_values(overrides)
    if isinstance(config, Config):
        options = override(config, values)
    else:
        options = load_config(None if config is None else Path(config), values)
    return _finish(training.train(options, Path(folder), overwrite), folder)


def resume(folder: str | os.PathLike[str], overrides: Values = NONE) -> PhotoCaptioner:
    """Resume a run from its last checkpoint, bit-exactly, and return a Captioner of its best checkpoint.

    Raises: as `train`.
    """
    return _finish(resuming.resume(Path(folder), checked_values(overrides)), folder)


def _finish(events: Iterator[Event], folder: str | os.PathLike[str]) -> PhotoCaptioner:
    for _ in events:
        pass
    return load(folder)


def load(runs: ModelPath | Sequence[ModelPath] = DEFAULT_MODEL, overrides: Values = NONE) -> PhotoCaptioner:
    """Load a Captioner from a run folder (its best checkpoint) or a model file. Several form an ensemble.

    Without `runs`, the Captioner has the default model, a file of the installation.

    `overrides` are values of options, such as `{"decode.beam_width": 5}`.

    Raises: CheckpointError for a damaged checkpoint or runs that do not fit together, ConfigError for overrides, also
    for those without effect.
    """
    values = checked_values(overrides, "captioner.load")
    captioner = PhotoCaptioner(open_runs(_run_list(runs, "load: runs"), values))
    for warning in captioner.warnings:
        warnings.warn(warning, stacklevel=2)
    return captioner


def _run_list(runs: Captioner | ModelPath | Sequence[Captioner | ModelPath], where: str) -> list[Any]:
    """Return a run, or several, as a list. Raises: UsageError for an empty list."""
    named = [runs] if isinstance(runs, str | os.PathLike | Captioner) else list(runs)
    if not named:
        raise UsageError(f"{where}: expected at least one run, got an empty list")
    return named


def evaluate(
    models: Captioner | ModelPath | Sequence[Captioner | ModelPath],
    split: str = "val",
    overrides: Values = NONE,
    *,
    ensemble: bool = False,
    data: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Score a model's captions of a split against the reference captions, and compare them with those of others.

    The data set is `data`, or else the training data set of the first model; vocabularies may differ. With `ensemble`,
    the models form one.

    Returns BLEU-1 to -4, ROUGE-L and CIDEr-D as fractions with 95 % confidence intervals, the perplexity of the
    references and caption statistics. The key `others` has the scores of each other model, with the
    intervals of the differences; `warnings` is a list of texts. `overrides` need runs, not Captioners.

    Raises: DataError when the data set or the split is missing, CheckpointError when the data set has changed or has
    features of another encoder, UsageError for overrides of a Captioner.
    """
    named = _run_list(models, "evaluate: models")
    if overrides and any(isinstance(model, Captioner) for model in named):
        raise UsageError("evaluate: overrides need a run; load the Captioner with them instead")
    values = checked_values(overrides, "captioner.evaluate")
    captioners, corpus = open_captioners(named, values, ensemble, None if data is None else Path(data))
    for warning in (warning for _, model in captioners if model not in named for warning in model.warnings):
        warnings.warn(warning, stacklevel=2)
    return evaluate_split(captioners, corpus, split).record()
