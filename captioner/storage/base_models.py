"""The base models of a model: the model packages that it was made from.

It was fine-tuned (`train.init_from`) or packaged again from them, directly or through others.
Their licenses and terms apply to it too, so checkpoints, packages (model.json) and exported files contain them.

This module imports no NumPy: `captioner models` lists models without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from captioner.errors import CheckpointError, printable, quoted

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""The names of models: lower-case letters, digits and single hyphens."""
MAX_NAME = 60
LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,60}")
BASE_MODELS = "base_models"
MAX_BASE_MODELS, MAX_TERMS = 20, 2000


@dataclass(frozen=True)
class BaseModel:
    """A model package that another model was made from; `terms` are those of its training data, empty if not stated."""

    name: str
    license: str
    terms: str = ""

    def describe(self, show: Callable[[str], str]) -> str:
        """Return the name, the license and the terms, which `show` escapes."""
        return f"{self.name} (license: {self.license}; terms: {show(self.terms or 'not stated')})"


def is_name(value: Any) -> bool:
    """Return whether a value can be the name of a model."""
    return isinstance(value, str) and len(value) <= MAX_NAME and NAME.fullmatch(value) is not None


FIELDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "name": ("the name of a model", is_name),
    "license": ("an identifier such as mit", lambda value: isinstance(value, str) and bool(LICENSE.fullmatch(value))),
    "terms": (
        f"a line of at most {MAX_TERMS:,} characters",
        lambda value: isinstance(value, str) and printable(value, MAX_TERMS) == value,
    ),
}
"""What is expected of the fields of a base model, and their checks."""


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
    return isinstance(record, dict) and all(check(record.get(name, "")) for name, (_, check) in FIELDS.items())


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
