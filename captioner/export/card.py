"""The model card: a Markdown page about a model, with the front matter of Hugging Face.

It contains no paths of the machine. All texts of users and files are escaped, except the commands of `--made-with`,
which are checked.
"""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import captioner
from captioner.config.yaml_io import config_differences, yaml_text
from captioner.data.vocabulary import SPECIAL
from captioner.errors import DataError, UsageError, printable, quoted
from captioner.evaluation.titles import SCORES, format_interval, format_score, statistic_rows
from captioner.export.scores_file import SplitScores, read_scores
from captioner.images.recipe import parse_identity
from captioner.inference.package_info import LICENSE, MAX_NAME, BaseModel, base_models_of, is_name
from captioner.inference.restore import Restored, model_properties
from captioner.model.losses import perplexity
from captioner.storage.files import read_json_object, read_text

LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
MAX_COMMANDS = 20_000
"""Maximum characters of the commands that made a model."""
MAX_WORST = 5
LINE, TEXT = 200, 2000
"""Maximum characters of a name or description, and of other texts."""
SOURCES: Mapping[str, str] = {
    "scenes": "Scenes of coloured shapes that captioner generates",
    "cs231n": "A data set in the layout of CS231n's assignment 3",
    "prepared": "Photographs with captions, prepared with `captioner prepare`",
}
"""What is known of the training data by `data.source`."""
LIBRARIES = {"captioner": "captioner", "python": "Python", "numpy": "NumPy", "h5py": "h5py"}
METRICS = {key: (title.partition("-")[0].lower(), title) for key, title in SCORES.items()}
"""The type of each metric on Hugging Face (bleu, rouge or cider), and its title."""
SYNTAX = re.compile(r"([\\`*_\[\]|~$])")
"""Characters that have a meaning inside a line of Markdown."""


@dataclass(frozen=True)
class CardOptions:
    """What a user states about a model: license, language of the captions, data set and its terms, files."""

    license: str = "unknown"
    language: str = "en"
    dataset: str | None = None
    data_terms: str | None = None
    scores: Path | None = None
    made_with: Path | None = None

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

    `commands` are those that made the model, None if they are unknown. `base_models` are the model packages that it was
    fine-tuned from. `version` is that of the model package, None for a run.
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
    def parameters(self) -> int:
        """The number of parameters."""
        return sum(w.size for w in self.model.model.params.values())

    @property
    def versions(self) -> dict[str, str]:
        """The versions of the libraries that trained the model, by the summary and the checkpoint."""
        numpy = self.model.meta.environment.get("numpy")
        return {**_texts(self.summary.get("versions")), **({"numpy": numpy} if numpy else {})}

    @property
    def is_distilled(self) -> bool:
        """Whether the model was trained on the captions of teachers."""
        return self.model.config.train.objective == "distillation"

    @property
    def teachers(self) -> list[str]:
        """The names of the teachers of a student."""
        teachers = self.summary.get("teachers")
        names = (_texts(teacher).get("name", "") for teacher in (teachers if isinstance(teachers, list) else ()))
        return [one_line(name) for name in names if name]

    @property
    def dataset(self) -> str:
        """The name of the data set, or what is known of it, as one line of plain text."""
        return one_line(self.options.dataset or SOURCES[self.model.config.data.source].replace("`", ""))

    @property
    def description(self) -> str:
        """One line about the model, as plain text."""
        cell, words = self.model.config.model.cell.upper(), len(self.model.vocab) - len(SPECIAL)
        on = f", trained on {self.dataset}" if self.options.dataset else ""
        return printable(f"{cell} image captioner{on}; {words:,} words, {self.parameters:,} parameters", LINE)


def collect_facts(model: Restored, name: str, options: CardOptions, version: str | None = None) -> CardFacts:
    """Collect what a card states about a restored model.

    Raises: UsageError for options of another form, DataError for the files of scores and commands, CheckpointError for
    base models.
    """
    options.check()
    scores = [] if options.scores is None else read_scores(options.scores, model.config.decode)
    commands = None if options.made_with is None else read_commands(options.made_with)
    summary = read_json_object(model.path.parent / "summary.json")
    return CardFacts(name, model, options, scores, commands, summary, base_models_of(model.path), version)


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


def default_name(checkpoint: Path) -> str:
    """Return the name of a model: that of its run folder, in the form of names of models.

    Raises: UsageError when nothing is left of it.
    """
    name = re.sub(r"[^a-z0-9]+", "-", checkpoint.absolute().parent.name.lower().removeprefix("captioner_")).strip("-")
    name = name[:MAX_NAME].rstrip("-")
    if not is_name(name):
        raise UsageError(f"{checkpoint}: its folder has no name that a model could have; name it with --name")
    return name


def one_line(text: str) -> str:
    """Return a text as one printable line."""
    return printable(" ".join(text.split()), LINE)


def _texts(values: object) -> dict[str, str]:
    """Return the texts of a JSON object by name; an empty dict for any other value."""
    return {name: value for name, value in values.items() if isinstance(value, str)} if isinstance(values, dict) else {}


def model_card(facts: CardFacts) -> str:
    """Write the card of a model."""
    sections = {
        f"# {facts.name}": _summary(facts),
        "## Use": _use(facts),
        "## Model": _model(facts),
        "## Training data": _data(facts),
        "## Scores": _scores(facts),
        "## Limits and known failures": _limits(facts),
        "## How it was made": _training(facts),
        "## Reproduce": _reproduce(facts),
    }
    lines = [line for title, content in sections.items() for line in ("", title, "", *content)]
    return front_matter(facts) + "\n".join(lines) + "\n"


def front_matter(facts: CardFacts) -> str:
    """Return the front matter, which Hugging Face reads, between its two fences."""
    config, options = facts.model.config, facts.options
    tags = ["captioner", "image-captioning", config.model.cell, "numpy"]
    values: dict[str, Any] = {
        "license": options.license,
        "language": [options.language],
        "library_name": "captioner",
        "pipeline_tag": "image-to-text",
        "tags": [*tags, "attention"] if facts.model.model.attends else tags,
    }
    if options.dataset is not None:
        values["datasets"] = [one_line(options.dataset)]
    if facts.scores:
        values["metrics"] = list(dict.fromkeys(kind for kind, _ in METRICS.values()))
        values["model-index"] = [{"name": facts.name, "results": _results(facts)}]
    return f"---\n{yaml_text(values)}---\n"


def _results(facts: CardFacts) -> list[dict[str, Any]]:
    name = facts.dataset
    return [
        {
            "task": {"type": "image-to-text", "name": "Image captioning"},
            "dataset": {"type": name, "name": name, "split": one_line(split.split)},
            "metrics": [
                {"type": kind, "name": title, "value": round(100 * split.scores[key], 1)}
                for key, (kind, title) in METRICS.items()
            ],
        }
        for split in facts.scores
    ]


def _summary(facts: CardFacts) -> Iterator[str]:
    images = "a generated scene" if facts.model.config.data.source == "scenes" else "a photograph"
    yield f"This model writes a one-sentence caption for {images}. {escaped(facts.description)}."


def _use(facts: CardFacts) -> Iterator[str]:
    name = facts.name if facts.version is not None else f"runs/{facts.name}"
    install = "pip install .  # in the folder of the package\n" if facts.version is not None else ""
    if parse_identity(facts.model.meta.encoder) is None:
        yield from code("console", f"{install}captioner sample {name} --features new.h5")
        yield ""
        yield "captioner cannot compute these image features: the model captions files of features, not photographs."
        return
    yield from code("console", f"{install}captioner sample {name} photo.jpg")
    yield ""
    yield from code("python", f'import captioner\n\nprint(captioner.load("{name}").caption("photo.jpg").text)')


def _model(facts: CardFacts) -> Iterator[str]:
    properties = model_properties(facts.model, is_packaged=facts.version is not None)
    values = {name: escaped(value, LINE) for name, value in properties.items()}
    yield from table(("property", "value"), values.items())


def _data(facts: CardFacts) -> Iterator[str]:
    options = facts.options
    name = "" if options.dataset is None else f" Name: {escaped(options.dataset, LINE)}."
    yield f"{SOURCES[facts.model.config.data.source]}.{name}"
    yield ""
    if options.data_terms is not None:
        yield f"Terms: {escaped(options.data_terms)}"
    else:
        yield "Terms: not stated. Ask the author of the model before you use it for more than tests."
    if facts.base_models:
        named = (f"{escaped(base.name)} (license: {escaped(base.license)})" for base in facts.base_models)
        yield ""
        yield (
            f"Fine-tuned, directly or through other models, from: {', '.join(named)}. The terms of every model named "
            "here, and of its training data, apply too."
        )
    yield ""
    yield "The model contains the words of the training captions, but no images and no captions."


def _scores(facts: CardFacts) -> Iterator[str]:
    best = facts.model.meta.best
    if best is not None:
        split = escaped(facts.model.config.validate.split, LINE)
        yield f"Perplexity of the validation captions (split {split}) during training: {perplexity(best['loss']):.2f}."
    elif not facts.scores:
        yield "Not measured."
    if not facts.scores:
        return
    yield ""
    columns = [f"{escaped(split.split, LINE)} ({split.images:,} images)" for split in facts.scores]
    rows = [(title, *(_score(split, key) for split in facts.scores)) for key, title in SCORES.items()]
    statistics = statistic_rows([split.statistics for split in facts.scores])
    yield from table(("", *columns), [*rows, *((title, *cells) for title, cells in statistics.values())])
    yield ""
    yield "Scores are multiplied by 100, with 95 % bootstrap confidence intervals over the images."


def _score(split: SplitScores, key: str) -> str:
    return f"{format_score(split.scores[key])} ({format_interval(split.intervals[key])})"


def _limits(facts: CardFacts) -> Iterator[str]:
    config = facts.model.config
    words = len(facts.model.vocab) - len(SPECIAL)
    if config.data.source == "scenes":
        yield "- The captions describe generated scenes of coloured shapes. They do not describe photographs."
    else:
        yield "- Photographs unlike the training images get captions of what is in the training images."
        yield "- Objects may be invented or missed; numbers, colours, positions and actions are often wrong."
        yield "- Captions reproduce biases of the training captions about people, such as gender and age."
    yield f"- The vocabulary has {words:,} words. The model writes no other words, and does not read text in images."
    yield "- The log-probability of a caption does not measure its truth. Do not rely on captions for safety."
    worst = [pair for split in facts.scores for pair in split.worst][:MAX_WORST]
    if worst:
        yield ""
        yield "The captions with the lowest CIDEr-D:"
        yield ""
        yield from table(("caption", "a reference"), ([escaped(text, LINE) for text in pair] for pair in worst))


def _training(facts: CardFacts) -> Iterator[str]:
    model = facts.model
    named = {LIBRARIES[name]: version for name, version in facts.versions.items() if name in LIBRARIES}
    versions = ", ".join(f"{name} {escaped(version, 40)}" for name, version in named.items())
    yield f"Trained for {model.meta.step:,} steps with {versions}."
    if facts.is_distilled:
        yield "The model is distilled: it was trained on captions that other models, its teachers, wrote."
    if facts.teachers:
        yield f"The training captions were written by teachers: {', '.join(map(escaped, facts.teachers))}."
    if model.config.train.init_from is not None:
        yield "The initial parameters are those of another model (`train.init_from`)."
    if facts.version is not None:
        yield f"Packaged with captioner {captioner.__version__}, as version {facts.version}."
    differences = config_differences(model.config)
    yield ""
    if not differences:
        yield "All options have their defaults."
        return
    yield "Options that differ from the defaults:"
    yield ""
    yield from code("yaml", differences)


def _reproduce(facts: CardFacts) -> Iterator[str]:
    if facts.commands is not None:
        yield "The commands that made the model:"
        yield ""
        yield from code("console", facts.commands)
        return
    if facts.is_distilled:
        yield "Not stated. `captioner distill` trains a student on the captions of its teachers."
        return
    config, run = facts.model.config, f"runs/{facts.name}"
    data = "" if config.data.source == "scenes" else " -o data.root=DATA"
    start = "" if config.train.init_from is None else " -o train.init_from=RUN"
    split = shlex.quote(printable(config.validate.split, LINE))
    lines = [
        f"captioner train -c config.yaml --run {run}{data}{start}",
        f"captioner evaluate {run} --split {split} --json > scores.json",
    ]
    if facts.version is not None:
        lines.append(f"captioner package {run} --output models/{facts.name} --scores scores.json")
    else:
        lines.append(f"captioner card {run} --scores scores.json")
    yield f"Save the options above as `config.yaml`.{' DATA is the data set.' if data else ''}"
    yield ""
    yield from code("console", "\n".join(lines))


def escaped(text: object, limit: int = TEXT) -> str:
    """Escape an untrusted text for use inside a line: no Markdown, no HTML, no line end."""
    line = printable(" ".join(str(text).split()), limit)
    return html.escape(SYNTAX.sub(r"\\\1", line), quote=False)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; the cells are Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def code(language: str, text: str) -> list[str]:
    """Return the lines of a code block, whose fence is longer than all fences in the text."""
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", *text.splitlines(), fence]
