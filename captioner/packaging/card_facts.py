"""What a model card states: facts of the model, and what its user adds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner.errors import UsageError
from captioner.inference.base_models import base_models_of
from captioner.inference.package_info import LICENSE, MAX_NAME, BaseModel, is_name
from captioner.inference.restore import Restored
from captioner.packaging.scores_file import SplitScores, read_scores
from captioner.printable import printable
from captioner.storage.files import read_json_object
from captioner.text.vocabulary import SPECIAL

LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
LONGEST = 200
"""Maximum characters of a name or description."""
SOURCES: Mapping[str, str] = {
    "scenes": "Scenes of coloured shapes that captioner generates",
    "cs231n": "A data set in the layout of CS231n's assignment 3",
    "prepared": "Photographs with captions, prepared with `captioner prepare`",
}
"""What is known of the training data by `data.source`."""


@dataclass(frozen=True)
class CardOptions:
    """What a user states about a model: license, language of the captions, data set and its terms, scores."""

    license: str = "unknown"
    language: str = "en"
    dataset: str | None = None
    data_terms: str | None = None
    scores: Path | None = None

    def check(self) -> None:
        """Raises: UsageError for a license or a language of another form."""
        for option, value, pattern, example in (
            ("--license", self.license, LICENSE, "cc-by-4.0"),
            ("--language", self.language, LANGUAGE, "en"),
        ):
            if not pattern.fullmatch(value):
                raise UsageError(f"{option} {value}: expected an identifier such as {example}")


@dataclass(frozen=True)
class CardFacts:
    """A restored model with its name, scores, and the content of its run's summary.json (empty if there is none).

    `base_models` are the model packages that it was fine-tuned from. `version` is that of the model package, None for a
    run.
    """

    name: str
    model: Restored
    options: CardOptions
    scores: list[SplitScores]
    summary: Mapping[str, Any]
    base_models: tuple[BaseModel, ...]
    version: str | None = None

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        return sum(w.size for w in self.model.model.params.values())

    @property
    def versions(self) -> dict[str, str]:
        """The versions of the libraries that trained the model, by the summary and the checkpoint."""
        numpy = self.model.meta.environment.get("numpy")
        return {**_texts(self.summary.get("versions")), **({"numpy": numpy} if numpy else {})}

    @property
    def teachers(self) -> list[str]:
        """The names of the teachers of a student."""
        return [one_line(name) for one in self._teachers if (name := _texts(one).get("name", ""))]

    @property
    def teacher_decode(self) -> object:
        """The decoding options of the teachers by name, as far as they are known."""
        return self._teachers[0].get("decode") if self._teachers else None

    @property
    def _teachers(self) -> list[dict[str, Any]]:
        teachers = self.summary.get("teachers")
        return [one for one in teachers if isinstance(one, dict)] if isinstance(teachers, list) else []

    @property
    def dataset(self) -> str:
        """The name of the data set, or what is known of it, as one line of plain text."""
        return (
            one_line(self.options.dataset)
            if self.options.dataset
            else SOURCES[self.model.config.data.source].replace("`", "")
        )

    @property
    def description(self) -> str:
        """One line about the model, as plain text."""
        cell, words = self.model.config.model.cell.upper(), len(self.model.vocab) - len(SPECIAL)
        on = f", trained on {self.dataset}" if self.options.dataset else ""
        return printable(f"{cell} image captioner{on}; {words:,} words, {self.parameters:,} parameters", LONGEST)


def one_line(text: str) -> str:
    """Return a text as one printable line."""
    return printable(" ".join(text.split()), LONGEST)


def collect_facts(model: Restored, name: str, options: CardOptions, version: str | None = None) -> CardFacts:
    """Collect what a card states about a restored model.

    Raises: UsageError for options of another form, DataError for the file of scores, CheckpointError for base models.
    """
    options.check()
    scores = [] if options.scores is None else read_scores(options.scores, model.config.decode)
    summary = read_json_object(model.path.parent / "summary.json")
    return CardFacts(name, model, options, scores, summary, base_models_of(model.path), version)


def default_name(checkpoint: Path) -> str:
    """Return the name of a model: that of its run folder, in the form of names of models.

    Raises: UsageError when nothing is left of it.
    """
    name = re.sub(r"[^a-z0-9]+", "-", checkpoint.absolute().parent.name.lower().removeprefix("captioner_")).strip("-")
    name = name[:MAX_NAME].rstrip("-")
    if not is_name(name):
        raise UsageError(f"{checkpoint}: its folder has no name that a model could have; name it with --name")
    return name


def _texts(values: object) -> dict[str, str]:
    """Return the texts of a JSON object by name; an empty dict for any other value."""
    return {name: value for name, value in values.items() if isinstance(value, str)} if isinstance(values, dict) else {}
