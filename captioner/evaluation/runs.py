"""Open the runs and the data set of an evaluation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from captioner.data.corpus import Corpus
from captioner.inference.captioner import Captioner
from captioner.inference.find_checkpoint import BEST, LAST
from captioner.inference.load import Run, captioner_of, ensemble_of, open_corpus, open_run
from captioner.inference.package_info import in_package, read_info
from captioner.inference.restore import LoadedModel, check_encoder, is_training_split


class NamedCaptioner(NamedTuple):
    """A Captioner and the name of its scores."""

    name: str
    captioner: Captioner


def open_captioners(
    runs: Sequence[Captioner | Run], overrides: Sequence[str], ensemble: bool, data: Path | None
) -> tuple[list[NamedCaptioner], Corpus]:
    """Open runs and the data set to score them on: `data`, or else that of the first run.

    The vocabularies of the runs may differ. With `ensemble`, all runs form one Captioner.

    Raises: CheckpointError, also for features of another encoder than a model's; DataError; ConfigError for overrides;
    UsageError when `data` is no data set.
    """
    captioners = [run if isinstance(run, Captioner) else None for run in runs]
    models = [run.loaded if isinstance(run, Captioner) else open_run(run, overrides) for run in runs]
    names = short_names([model.path for model in models])
    if ensemble and len(models) > 1:
        captioners, models, names = [None], [ensemble_of(models)], [f"ensemble of {len(models)}"]
    corpus = open_corpus(models[0], data)
    for model in models[1:]:
        check_encoder(model, corpus)
    opened = [one or _captioner(model, corpus) for one, model in zip(captioners, models, strict=True)]
    return list(map(NamedCaptioner, names, opened)), corpus


def _captioner(model: LoadedModel, corpus: Corpus) -> Captioner:
    return captioner_of(model, corpus if is_training_split(model, corpus) else None)


def _folder(checkpoint: Path) -> Path:
    """Return what names a checkpoint: its folder, `last.h5` in it, or the folder of the package named as the model."""
    if in_package(checkpoint):
        return checkpoint.parent.with_name(read_info(checkpoint.parent).name)
    return checkpoint.parent if checkpoint.name == BEST else checkpoint


def short_names(checkpoints: Sequence[Path]) -> list[str]:
    """Name checkpoints by their run folders, or by the shortest ends of their paths that differ.

    `best.h5` is omitted, `last.h5` has at least its folder before it, and a model package has the name of the model.
    """
    paths = [_folder(Path(os.path.abspath(path))) for path in checkpoints]
    names, length = [""] * len(paths), 0
    while "" in names or len(set(names)) < len(set(paths)):
        length += 1
        names = [str(Path(*path.parts[-length - (path.name == LAST) :])) for path in paths]
    return names
