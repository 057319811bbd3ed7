"""The model card: a Markdown page about a model, with the front matter of Hugging Face.

It states the facts of a model and its run, and what a user states with options and files: the output of `captioner
evaluate --json`, one line per split, and the commands that made the model. It contains no paths of the machine. All
texts of users and files are escaped, except these commands, which are checked.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

import captioner
from captioner.config.options import Decode
from captioner.config.yaml_io import config_differences
from captioner.data.vocabulary import SPECIAL
from captioner.errors import DataError, UsageError, printable, quoted
from captioner.evaluation.score_format import SCORES, format_interval, format_score, statistic_rows
from captioner.images.recipe import parse_identity
from captioner.inference.package_info import package_of
from captioner.inference.restore import Restored, model_properties
from captioner.metrics import NAMES
from captioner.model.losses import perplexity
from captioner.parallel.environment import describe_versions
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
DECODER_NAMES = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU", "transformer": "Transformer"}
LEARNED = "The model was trained on captions in a file (`data.captions`), which replaced the reference captions."
OBJECTIVES = {
    "self_critical": "The model was trained with rewards for captions that it sampled (self-critical training).",
}
"""What the card says of models that were not trained on the captions of people."""
STATISTICS = ("perplexity", "true", "pointing", "distinct", "novel", "repeats")
"""Statistics that a card shows if they are known."""


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
    def objective(self) -> str | None:
        """What to say of the training objective, if it is not the cross-entropy of reference captions."""
        config = self.model.config
        return LEARNED if config.data.captions is not None else OBJECTIVES.get(config.train.objective)

    @property
    def description(self) -> str:
        """One line about the model, as plain text."""
        decoder, words = DECODER_NAMES[self.model.config.model.decoder], len(self.model.vocab) - len(SPECIAL)
        on = f", trained on {one_line(self.options.dataset)}" if self.options.dataset else ""
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
        _check_decode(values.get("decode") or {}, decode, where)
        intervals = values["intervals"]
        return SplitScores(
            str(values["split"]),
            int(values["images"]),
            {name: _number(values[name]) for name in NAMES},
            {name: (_number(intervals[name][0]), _number(intervals[name][1])) for name in NAMES},
            {name: _number(values[name]) for name in STATISTICS if values.get(name) is not None},
            [(str(entry["caption"]), str(entry["references"][0])) for entry in values.get("worst", ())],
        )
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(
            f"{where}: expected a line of `captioner evaluate --json`, got {quoted(line, 40)} ({quoted(error)})"
        ) from error


def _check_decode(options: dict[str, Any], decode: Decode, where: str) -> None:
    for name, value in asdict(decode).items():
        if name in options and options[name] != value:
            shown = "null" if value is None else f"{value:g}" if isinstance(value, float) else value
            raise DataError(
                f"{where}: measured with decode.{name} {quoted(options[name], 40)}, but the model has {shown}; "
                f"try captioner evaluate -o decode.{name}={shown}"
            )


def _number(value: Any) -> float:
    if not 0 <= value < float("inf"):
        raise ValueError(f"expected a number of at least 0, got {value}")
    return float(value)


MAX_WORST = 5
TEXT = 2000
"""Maximum characters of a text that is neither a name nor a description."""
SYNTAX = re.compile(r"([\\`*_\[\]|~$])")
"""Characters that have a meaning inside a line of Markdown."""


def model_card(facts: CardFacts) -> str:
    """Write the card of a model. A section is a sequence of paragraphs, tables and code blocks."""
    sections = {
        f"# {facts.name}": _summary(facts),
        "## Use": _use(facts),
        "## Model": _model(facts),
        "## Training data": _data(facts),
        "## Scores": _scores(facts),
        "## Limits and known failures": _limits(facts),
        "## How it was made": _training(facts),
    }
    blocks = [block for title, content in sections.items() for block in (title, *content)]
    return front_matter(facts) + "\n" + "\n\n".join(blocks) + "\n"


def front_matter(facts: CardFacts) -> str:
    """Return the front matter, which Hugging Face reads, between its two fences."""
    config, options = facts.model.config, facts.options
    tags = ["captioner", "image-captioning", config.model.decoder, "numpy"]
    values: dict[str, Any] = {
        "license": options.license,
        "language": [options.language],
        "library_name": "captioner",
        "pipeline_tag": "image-to-text",
        "tags": [*tags, "attention"] if facts.model.model.attends else tags,
    }
    if options.dataset is not None:
        values["datasets"] = [one_line(options.dataset)]
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=float('inf'))}---\n"


def _summary(facts: CardFacts) -> Iterator[str]:
    images = "a generated scene" if facts.model.config.data.source == "scenes" else "a photograph"
    yield f"This model writes a one-sentence caption for {images}. {escaped(facts.description)}."
    if facts.objective:
        yield facts.objective


def _use(facts: CardFacts) -> Iterator[str]:
    name = facts.name if facts.version is not None else f"runs/{facts.name}"
    install = "pip install .  # in the folder of the package\n" if facts.version is not None else ""
    if parse_identity(facts.model.meta.encoder) is None:
        yield code("console", f"{install}captioner sample {name} --features new.h5")
        yield "captioner cannot compute these image features: the model captions files of features, not photographs."
        return
    yield code("console", f"{install}captioner sample {name} photo.jpg")
    yield code("python", f'import captioner\n\nprint(captioner.load("{name}").caption("photo.jpg").text)')


def _model(facts: CardFacts) -> Iterator[str]:
    properties = model_properties(facts.model, is_packaged=facts.version is not None)
    values = {name: escaped(value, LINE) for name, value in properties.items()}
    yield table(("property", "value"), values.items())


def _data(facts: CardFacts) -> Iterator[str]:
    options = facts.options
    name = "" if options.dataset is None else f" Name: {escaped(options.dataset, LINE)}."
    yield f"{SOURCES[facts.model.config.data.source]}.{name}"
    if options.data_terms is not None:
        yield f"Terms: {escaped(options.data_terms)}"
    else:
        yield "Terms: not stated. Ask the author of the model before you use it for more than tests."
    if facts.base_models:
        named = (base.describe(escaped) for base in facts.base_models)
        yield (
            f"Made, directly or through other models, from: {', '.join(named)}. The licenses and terms of every model "
            "named here apply too."
        )
    yield "The model contains the words of the training captions, but no images and no captions."


def _scores(facts: CardFacts) -> Iterator[str]:
    best = facts.model.meta.best
    if best is not None and not facts.scores:
        split = escaped(facts.model.config.validate.split, LINE)
        yield f"Perplexity of the validation captions (split {split}) during training: {perplexity(best['loss']):.2f}."
    elif not facts.scores:
        yield "Not measured."
    if facts.objective:
        yield "The model was not trained to predict the references, so the perplexity is higher."
    if not facts.scores:
        return
    columns = [f"{escaped(split.split, LINE)} ({split.images:,} images)" for split in facts.scores]
    rows = [(title, *(_score(split, key) for split in facts.scores)) for key, title in SCORES.items()]
    statistics = statistic_rows([split.statistics for split in facts.scores])
    yield table(("", *columns), [*rows, *((title, *cells) for title, cells in statistics.values())])
    yield "Scores are multiplied by 100, with 95 % bootstrap confidence intervals over the images."


def _score(split: SplitScores, key: str) -> str:
    return f"{format_score(split.scores[key])} ({format_interval(split.intervals[key])})"


def _limits(facts: CardFacts) -> Iterator[str]:
    config = facts.model.config
    words = len(facts.model.vocab) - len(SPECIAL)
    if config.data.source == "scenes":
        limits = ["The captions describe generated scenes of coloured shapes. They do not describe photographs."]
    else:
        limits = [
            "Photographs unlike the training images get captions of what is in the training images.",
            "Objects may be invented or missed; numbers, colours, positions and actions are often wrong.",
            "Captions reproduce biases of the training captions about people, such as gender and age.",
        ]
    limits += [
        f"The vocabulary has {words:,} words. The model writes no other words, and does not read text in images.",
        "The log-probability of a caption does not measure its truth. Do not rely on captions for safety.",
    ]
    yield "\n".join(f"- {limit}" for limit in limits)
    worst = [pair for split in facts.scores for pair in split.worst][:MAX_WORST]
    if worst:
        yield "The captions with the lowest CIDEr-D:"
        yield table(("caption", "a reference"), ([escaped(text, LINE) for text in pair] for pair in worst))


def _training(facts: CardFacts) -> Iterator[str]:
    model = facts.model
    versions = describe_versions(facts.summary, model.meta.environment)
    lines = [f"Trained for {model.meta.step:,} steps with {escaped(versions)}."]
    if model.config.train.init_from is not None:
        lines.append("The initial parameters are those of another model (`train.init_from`).")
    if facts.version is not None:
        lines.append(f"Packaged with captioner {captioner.__version__}, as version {facts.version}.")
    yield "\n".join(lines)
    if differences := config_differences(model.config):
        yield "Options that differ from the defaults:"
        yield code("yaml", differences)
    else:
        yield "All options have their defaults."
    if facts.commands is not None:
        yield "The commands that made the model:"
        yield code("console", facts.commands)


def escaped(text: object, limit: int = TEXT) -> str:
    """Escape an untrusted text for use inside a line: no Markdown, no HTML, no line end."""
    line = printable(" ".join(str(text).split()), limit)
    return html.escape(SYNTAX.sub(r"\\\1", line), quote=False)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; the cells are Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def code(language: str, text: str) -> str:
    """Return a code block, whose fence is longer than all fences in the text."""
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join((f"{fence}{language}", *text.splitlines(), fence))
