"""The model card: a Markdown page about a model, with the front matter of Hugging Face.

It contains no paths of the machine. All texts of users and files are escaped, except the commands of `--made-with`,
which are checked.
"""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import yaml

import captioner
from captioner.config.yaml_io import config_differences
from captioner.data.vocabulary import SPECIAL
from captioner.errors import printable
from captioner.evaluation.score_format import SCORES, format_interval, format_score, statistic_rows
from captioner.export.card_facts import LINE, SOURCES, CardFacts, SplitScores, one_line
from captioner.images.recipe import parse_identity
from captioner.inference.restore import model_properties
from captioner.model.losses import perplexity
from captioner.parallel.environment import describe_versions

MAX_WORST = 5
TEXT = 2000
"""Maximum characters of a text that is neither a name nor a description."""
METRICS = {key: (title.partition("-")[0].lower(), title) for key, title in SCORES.items()}
"""The type of each metric on Hugging Face (bleu, rouge or cider), and its title."""
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
        "## Reproduce": _reproduce(facts),
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
    if facts.scores:
        values["metrics"] = list(dict.fromkeys(kind for kind, _ in METRICS.values()))
        values["model-index"] = [{"name": facts.name, "results": _results(facts)}]
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=float('inf'))}---\n"


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
    if facts.is_distilled:
        yield "The model is distilled: it was trained on captions that other models, its teachers, wrote."


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
    if best is not None:
        split = escaped(facts.model.config.validate.split, LINE)
        yield f"Perplexity of the validation captions (split {split}) during training: {perplexity(best['loss']):.2f}."
        if facts.is_distilled:
            yield "The model was trained on teacher captions instead, so this perplexity is higher."
    elif not facts.scores:
        yield "Not measured."
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
    if facts.teachers:
        lines.append(f"The training captions were written by teachers: {', '.join(map(escaped, facts.teachers))}.")
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


def _reproduce(facts: CardFacts) -> Iterator[str]:
    if facts.commands is not None:
        yield "The commands that made the model:"
        yield code("console", facts.commands)
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
    yield code("console", "\n".join(lines))


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
