"""Model packages: the folder that `captioner package` writes, and `model.json`, which describes the model.

The base models of a model are the model packages that it was made from: fine-tuned (`train.init_from`), distilled,
imported or packaged again, directly or through other models. Their licenses and terms apply to it too, so checkpoints,
packages (model.json) and exported files contain them.

This module imports no NumPy: `captioner models` lists models without it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

from captioner.errors import CheckpointError, printable, quoted
from captioner.storage.files import read_bytes, read_first_json_object
from captioner.storage.sealed import digest
from captioner.storage.strict_json import to_json

INFO, WEIGHTS, CARD = "model.json", "weights.h5", "card.md"
FORMAT = 1
"""The version of the layout of model packages."""
INFO_LIMIT, CARD_LIMIT = 1 << 19, 1 << 20
MAX_ENTRIES = 100
NOT_PACKAGED = Path("not-in-the-package")
"""What paths of the training machine are replaced with in the config of a packaged model."""
DATA_SET = Path("DATA_SET")
"""Placeholder for `data.root` in exported files; `-o data.root=FILE` sets the path."""
PLACEHOLDERS = (NOT_PACKAGED.name, DATA_SET.name)
"""Placeholder paths for a data set that was removed."""
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""The names of models: lower-case letters, digits and single hyphens."""
MAX_NAME = 60
LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,60}")
BASE_MODELS = "base_models"
HISTORY = "history.jsonl"
"""The file of a run whose first line has the base models, if an older version trained it."""
MAX_BASE_MODELS, MAX_TERMS = 20, 2000
AGAIN = "install the package again"


@dataclass(frozen=True)
class BaseModel:
    """A model package that another model was made from; `terms` are those of its training data, empty if not stated."""

    name: str
    license: str
    terms: str = ""


@dataclass(frozen=True)
class PackageInfo:
    """The content of `model.json`; `sha256` is the digest in the seal of the weights.

    `base_models` are the model packages that it was made from, nearest first; `terms` are those of its training data.
    """

    name: str
    version: str
    description: str
    license: str
    encoder: str
    words: int
    parameters: int
    captioner: str
    sha256: str
    format: int = FORMAT
    base_models: tuple[BaseModel, ...] = ()
    terms: str = ""

    def json(self) -> str:
        """Encode as JSON."""
        return to_json(asdict(self), indent=2) + "\n"


def is_name(value: Any) -> bool:
    """Return whether a value can be the name of a model."""
    return isinstance(value, str) and len(value) <= MAX_NAME and NAME.fullmatch(value) is not None


def _is_license(value: Any) -> bool:
    return isinstance(value, str) and LICENSE.fullmatch(value) is not None


def _is_terms(value: Any) -> bool:
    return isinstance(value, str) and printable(value, MAX_TERMS) == value


TEXT: tuple[str, Callable[[Any], bool]] = "a text", lambda value: isinstance(value, str)
INTEGER: tuple[str, Callable[[Any], bool]] = "an integer", lambda value: type(value) is int
CHECKS = {
    "name": ("the name of a model", is_name),
    "license": ("an identifier such as mit", _is_license),
    "terms": (f"a line of at most {MAX_TERMS:,} characters", _is_terms),
    **dict.fromkeys(("words", "parameters", "format"), INTEGER),
}
"""What is expected of a value in `model.json`, and its check; other values are texts."""


def parse_base_models(records: Any) -> tuple[BaseModel, ...]:
    """Return the base models in a list of JSON objects.

    Raises: ValueError for anything else, or more than `MAX_BASE_MODELS`: their licenses must not get lost.
    """
    if not isinstance(records, list) or len(records) > MAX_BASE_MODELS or not all(map(_is_base_model, records)):
        raise ValueError(
            f"{BASE_MODELS}: expected a list of at most {MAX_BASE_MODELS} models with name, license and terms, got "
            f"{quoted(records, 40)}"
        )
    return tuple(BaseModel(record["name"], record["license"], record.get("terms", "")) for record in records)


def _is_base_model(record: Any) -> bool:
    return (
        isinstance(record, dict)
        and is_name(record.get("name"))
        and _is_license(record.get("license"))
        and _is_terms(record.get("terms", ""))
    )


def merge_base_models(*groups: Sequence[BaseModel]) -> tuple[BaseModel, ...]:
    """Return the distinct base models of all groups.

    Raises: CheckpointError for more than `MAX_BASE_MODELS`.
    """
    models = tuple(dict.fromkeys(base for group in groups for base in group))
    if len(models) > MAX_BASE_MODELS:
        raise CheckpointError(
            f"expected a model made from at most {MAX_BASE_MODELS} model packages, got {len(models)}: "
            f"{', '.join(base.name for base in models)}; start from a model with fewer base models"
        )
    return models


def module_name(name: str) -> str:
    """Return the name of the Python package of a model."""
    return f"captioner_{name.replace('-', '_')}"


def read_info(folder: Path) -> PackageInfo:
    """Read `model.json` of the Python package in a folder.

    Raises: CheckpointError when it is missing or damaged, or of another format.
    """
    file = folder / INFO
    content = read_bytes(file, INFO_LIMIT, CheckpointError, expected="the description of a model package")
    try:
        values: Any = json.loads(content)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise CheckpointError(f"{file}: damaged: expected a JSON object; {AGAIN}")
    if values.get("format") != FORMAT:
        raise CheckpointError(
            f"{file}: expected model package format {FORMAT}, got {quoted(values.get('format'), 20)}; "
            "use the version of captioner that wrote it"
        )
    # packages without these may omit them
    base_models = _base_models_in(values, file, AGAIN)
    values.setdefault("terms", "")
    names = [field.name for field in fields(PackageInfo) if field.name != BASE_MODELS]
    for name in names:
        expected, is_valid = CHECKS.get(name, TEXT)
        if name not in values or not is_valid(values[name]):
            got = quoted(values[name], 40) if name in values else "nothing"
            raise CheckpointError(f"{file}: {name}: expected {expected}, got {got}; {AGAIN}")
    return PackageInfo(**{name: values[name] for name in names}, base_models=base_models)


def check_seal(path: Path, info: PackageInfo) -> None:
    """Check that the seal of the weights is valid, with the digest of the description. Raises: CheckpointError."""
    sha256 = digest(path)
    if sha256 != info.sha256:
        raise CheckpointError(
            f"{path}: expected the weights with SHA-256 {printable(info.sha256, 12)}, got {printable(sha256, 12)}: "
            "they belong to another package; install it again"
        )


def in_package(path: Path) -> bool:
    """Return whether a file is the weights of a model package."""
    return path.name == WEIGHTS and os.path.isfile(path.parent / INFO)


def find_package(folder: Path) -> Path | None:
    """Return the Python package of a model: the folder, or the only folder in it with `model.json`; None without."""
    if os.path.isfile(folder / INFO):
        return folder
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, MAX_ENTRIES) if entry.name.startswith("captioner_")]
    except (OSError, ValueError):
        return None
    packages = [folder / name for name in names if os.path.isfile(folder / name / INFO)]
    return packages[0] if len(packages) == 1 else None


def read_card(folder: Path) -> str:
    """Read the model card of the Python package in a folder. Raises: CheckpointError, also if it is not UTF-8."""
    content = read_bytes(folder / CARD, CARD_LIMIT, CheckpointError, expected="the card of a model package")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise CheckpointError(f"{folder / CARD}: damaged: expected UTF-8 text; {AGAIN}") from None


def base_models_of(checkpoint: Path, recorded: Any) -> tuple[BaseModel, ...]:
    """Return the model packages that a model made from a checkpoint is made from, nearest first.

    These are the checkpoint's package, if it is in one, with its base models, and those `recorded` in the checkpoint.

    Raises: CheckpointError for damaged base models.
    """
    models = _base_models_in({BASE_MODELS: recorded}, checkpoint, "use another checkpoint")
    if in_package(checkpoint):
        info = read_info(checkpoint.parent)
        return merge_base_models((BaseModel(info.name, info.license, info.terms),), info.base_models, models)
    history = checkpoint.parent / HISTORY
    return merge_base_models(
        models, _base_models_in(read_first_json_object(history), history, "restore the file from a copy")
    )


def _base_models_in(values: Mapping[str, Any], file: Path, remedy: str) -> tuple[BaseModel, ...]:
    """Return the base models of an object in a file; an object without any may omit them. Raises: CheckpointError."""
    try:
        return parse_base_models(values.get(BASE_MODELS, []))
    except ValueError as error:
        raise CheckpointError(f"{file}: {error}; {remedy}") from None
