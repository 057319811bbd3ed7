"""What a model card states: the facts of a model and its run, and what a user states with options and files.

The files are the output of `captioner evaluate --json`, one line per split, and the commands that made the model.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from captioner.config.options import Decode
from captioner.data.vocabulary import SPECIAL
from captioner.errors import DataError, UsageError, printable, quoted
from captioner.inference.package_info import package_of
from captioner.inference.restore import Restored
from captioner.metrics import NAMES
from captioner.storage.base_models import LICENSE, MAX_NAME, MAX_TERMS, BaseModel, is_name
from captioner.storage.files import read_json_object, read_text

UNKNOWN = "unknown"
"""The license of a model that states none."""
LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
MAX_COMMANDS = 20_000
"""Maximum characters of the commands that made a model."""
LINE = 200
"""Maximum characters of a name or description."""
SOURCES: Mapping[str, str] = {
    "scenes": "Scenes of coloured shapes that captioner generates",
    "cs231n": "A data set in the layout of CS231n's assignment 3",
    "prepared": "Photographs with captions, prepared with `captioner prepare`",
}
"""What is known of the training data by `data.source`."""
STATISTICS = ("perplexity", "true", "pointing", "distinct", "novel", "repeats")
"""Statistics that a card shows if they are known."""
MAX_SCORE = 10.0
"""The maximum of CIDEr-D as a fraction; the other metrics have the maximum 1."""


@dataclass(frozen=True)
class CardOptions:
    """What a user states about a model: license, language of the captions, data set and its terms, files."""

    license: str = UNKNOWN
    language: str = "en"
    dataset: str | None = None
    data_terms: str | None = None
    scores: Path | None = None
    made_with: Path | None = None

    @property
    def terms(self) -> str:
        """The terms of the training data as one line of plain text, empty if they are not stated."""
        return printable(" ".join((self.data_terms or "").split()), MAX_TERMS)

    def check(self) -> None:
        """Raises: UsageError for a license or a language of another form, or terms that are too long."""
        for option, value, pattern, example in (
            ("--license", self.license, LICENSE, "cc-by-4.0"),
            ("--language", self.language, LANGUAGE, "en"),
        ):
            if not pattern.fullmatch(value):
                raise UsageError(f"{option} {value}: expected an identifier such as {example}")
        if self.data_terms is not None and len(self.data_terms) > MAX_TERMS:
            raise UsageError(f"--data-terms: expected at most {MAX_TERMS:,} characters, got {len(self.data_terms):,}")


@dataclass(frozen=True)
class SplitScores:
    """Scores of the captions of one split, with 95 % confidence intervals.

    `worst` has captions with the lowest CIDEr-D, each with a reference.
    """

    split: str
    images: int
    scores: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    statistics: Mapping[str, float]
    worst: list[tuple[str, str]]


@dataclass(frozen=True)
class CardFacts:
    """A restored model with its name, scores, and the content of its run's summary.json (empty if there is none).

    `commands` are those that made the model, None if they are unknown. `base_models` are the model packages that it was
    made from. `version` is that of the model package, None for a run.
    """

    name: str
    model: Restored
    options: CardOptions
    scores: list[SplitScores]
    commands: str | None
    summary: Mapping[str, Any]
    base_models: tuple[BaseModel, ...]
    version: str | None = None

    @property
    def is_distilled(self) -> bool:
        """Whether the model was trained on the captions of teachers."""
        return self.model.config.train.objective == "distillation"

    @property
    def teachers(self) -> list[str]:
        """The names of the teachers of a student."""
        recorded = self.summary.get("teachers")
        teachers = recorded if isinstance(recorded, list) else ()
        names = (teacher.get("name") for teacher in teachers if isinstance(teacher, dict))
        return [one_line(name) for name in names if isinstance(name, str) and name]

    @property
    def dataset(self) -> str:
        """The name of the data set, or what is known of it, as one line of plain text."""
        return one_line(self.options.dataset or SOURCES[self.model.config.data.source].replace("`", ""))

    @property
    def description(self) -> str:
        """One line about the model, as plain text."""
        decoder, words = self.model.config.model.decoder.upper(), len(self.model.vocab) - len(SPECIAL)
        on = f", trained on {self.dataset}" if self.options.dataset else ""
        return printable(
            f"{decoder} image captioner{on}; {words:,} words, {self.model.model.parameter_count:,} parameters", LINE
        )


def collect_facts(model: Restored, name: str, options: CardOptions, version: str | None = None) -> CardFacts:
    """Collect what a card states about a restored model.

    Raises: UsageError for options of another form, DataError for the files of scores and commands, CheckpointError for
    base models.
    """
    options.check()
    scores = [] if options.scores is None else read_scores(options.scores, model.config.decode)
    commands = None if options.made_with is None else read_commands(options.made_with)
    summary = read_json_object(model.path.parent / "summary.json")
    is_same = package_of(model.path) == BaseModel(name, options.license, options.terms)  # such as a new version
    base_models = model.base_models if is_same else model.lineage
    return CardFacts(name, model, options, scores, commands, summary, base_models, version)


def read_commands(path: Path) -> str:
    """Read the commands that made a model from a text file.

    Raises: DataError for an empty or long file, and for control characters.
    """
    lines = read_text(path, "a text file with the commands that made the model").expandtabs().splitlines()
    text = "\n".join(line.rstrip() for line in lines).strip("\n")
    if not 0 < len(text) <= MAX_COMMANDS:
        raise DataError(f"{path}: expected commands in 1 to {MAX_COMMANDS:,} characters, got {len(text):,}")
    for number, line in enumerate(lines, 1):
        if wrong := next((character for character in line if not character.isprintable()), None):
            raise DataError(f"{path}:{number}: expected printable text, got the character {quoted(wrong)}; remove it")
    return text


def default_name(folder: Path) -> str:
    """Return the name of a model: that of its folder, in the form of names of models.

    Raises: UsageError when nothing is left of it.
    """
    name = re.sub(r"[^a-z0-9]+", "-", os.path.basename(os.path.abspath(folder)).lower().removeprefix("captioner_"))
    name = name.strip("-")[:MAX_NAME].rstrip("-")
    if not is_name(name):
        raise UsageError(f"{folder}: expected a folder name with letters a-z or digits; set --name")
    return name


def one_line(text: str) -> str:
    """Return a text as one printable line."""
    return printable(" ".join(text.split()), LINE)


def read_scores(path: Path, decode: Decode) -> list[SplitScores]:
    """Read a file of scores, measured with the decoding options `decode`; files without these are accepted.

    Raises: DataError for a file that is no such output, or for scores of other decoding options.
    """
    text = read_text(path, "the output of `captioner evaluate --json`")
    splits: dict[str, SplitScores] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            scores = _parse_scores(line, decode, f"{path}:{number}")
            if scores.split in splits:
                name = printable(scores.split, 60)
                raise DataError(f"{path}:{number}: split {name}: given twice; keep one line per split")
            splits[scores.split] = scores
    if not splits:
        raise DataError(f"{path}: expected scores, got an empty file; write it with `captioner evaluate --json`")
    return list(splits.values())


def _parse_scores(line: str, decode: Decode, where: str) -> SplitScores:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise DataError(f"{where}: expected a line of `captioner evaluate --json`, got {quoted(line, 40)}")
    _check_decode(values.get("decode"), decode, where)
    split, images, intervals = (values.get(name) for name in ("split", "images", "intervals"))
    if not isinstance(split, str) or type(images) is not int or images < 1 or not isinstance(intervals, dict):
        raise DataError(
            f"{where}: expected split, images and intervals as in the output of `captioner evaluate --json`, got "
            f"{quoted(sorted(values), 80)}"
        )
    scores = {name: _number(values.get(name), f"{where}: {name}", MAX_SCORE) for name in NAMES}
    bounds = {name: _interval(intervals.get(name), f"{where}: intervals: {name}") for name in NAMES}
    known = {
        name: _number(values[name], f"{where}: {name}", 1e9) for name in STATISTICS if values.get(name) is not None
    }
    return SplitScores(split, images, scores, bounds, known, list(_worst(values.get("worst"))))


def _check_decode(measured: Any, decode: Decode, where: str) -> None:
    options = measured if isinstance(measured, dict) else {}
    for name, value in asdict(decode).items():
        if name in options and options[name] != value:
            shown = "null" if value is None else f"{value:g}" if isinstance(value, float) else value
            raise DataError(
                f"{where}: measured with decode.{name} {quoted(options[name], 40)}, but the model has {shown}; "
                f"try captioner evaluate -o decode.{name}={shown}"
            )


def _interval(pair: Any, where: str) -> tuple[float, float]:
    low, high = pair if isinstance(pair, list) and len(pair) == 2 else (None, None)
    return _number(low, where, MAX_SCORE), _number(high, where, MAX_SCORE)


def _number(value: Any, where: str, maximum: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= maximum:
        raise DataError(f"{where}: expected a number from 0 to {maximum:g}, got {quoted(value, 40)}")
    return float(value)


def _worst(entries: Any) -> Iterator[tuple[str, str]]:
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(references := entry.get("references"), list) and references:
            yield str(entry.get("caption", "")), str(references[0])
