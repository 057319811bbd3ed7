"""Model packages: the folder that `captioner package` writes, and `model.json`, which describes the model.

This module imports no NumPy: `captioner models` lists models without it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

from captioner.errors import CheckpointError, printable, quoted
from captioner.files.base_models import BASE_MODELS, FIELDS, BaseModel, parse_base_models
from captioner.files.header import digest
from captioner.files.user_files import read_bytes, to_json

INFO, WEIGHTS, CARD = "model.json", "weights.h5", "card.md"
FORMAT = 1
"""The version of the layout of model packages."""
INFO_LIMIT, CARD_LIMIT = 1 << 19, 1 << 20
MAX_ENTRIES = 100
NOT_PACKAGED = Path("not-in-the-package")
"""What paths of the training machine are replaced with in the config of a packaged model."""
AGAIN = "install the package again"


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


TEXT: tuple[str, Callable[[Any], bool]] = "a text", lambda value: isinstance(value, str)
INTEGER: tuple[str, Callable[[Any], bool]] = "an integer", lambda value: type(value) is int
CHECKS = {**FIELDS, **dict.fromkeys(("words", "parameters", "format"), INTEGER)}
"""What is expected of a value in `model.json`, and its check; other values are texts."""


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
    try:
        base_models = parse_base_models(values.get(BASE_MODELS, []))
    except ValueError as error:
        raise CheckpointError(f"{file}: {error}; {AGAIN}") from None
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


def package_of(checkpoint: Path) -> BaseModel | None:
    """Return the model package whose weights a file is, or None. Raises: CheckpointError for a damaged description."""
    if not in_package(checkpoint):
        return None
    info = read_info(checkpoint.parent)
    return BaseModel(info.name, info.license, info.terms)
