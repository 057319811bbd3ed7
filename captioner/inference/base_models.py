"""The base models of a model: the model packages that it was fine-tuned from. Their terms apply to it too.

`train.init_from` records them in the first line of the run's history.jsonl, and `captioner package` in model.json.
"""

from __future__ import annotations

from pathlib import Path

from captioner.inference.find_checkpoint import HISTORY
from captioner.inference.package_info import (
    BASE_MODELS,
    MAX_BASE_MODELS,
    BaseModel,
    in_package,
    parse_base_models,
    read_info,
)
from captioner.storage.files import read_first_json_object


def base_models_of(checkpoint: Path) -> tuple[BaseModel, ...]:
    """Return the base models of the model in a checkpoint, nearest first.

    A checkpoint without a history beside it has none.

    Raises: CheckpointError for a damaged description of a package, or damaged base models in a history.
    """
    if in_package(checkpoint):
        return read_info(checkpoint.parent).base_models
    history = checkpoint.parent / HISTORY
    records = read_first_json_object(history).get(BASE_MODELS, [])
    return parse_base_models(records, history, "restore the file from a copy")


def base_models_after(checkpoint: Path) -> tuple[BaseModel, ...]:
    """Return the base models of a model that is fine-tuned from a checkpoint: its package, if any, and its own.

    Raises: as `base_models_of`.
    """
    package: tuple[BaseModel, ...] = ()
    if in_package(checkpoint):
        info = read_info(checkpoint.parent)
        package = (BaseModel(info.name, info.license),)
    return tuple(dict.fromkeys((*package, *base_models_of(checkpoint))))[:MAX_BASE_MODELS]
