"""The model card: a Markdown page about a model, with the front matter of Hugging Face.

It contains no paths of the machine. All texts of users and files are escaped.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import captioner
from captioner.config.differences import config_differences, student_overrides, teacher_overrides
from captioner.images.recipe import parse_identity
from captioner.inference.model_properties import model_properties
from captioner.model.losses import perplexity
from captioner.packaging.card_facts import SOURCES, CardFacts
from captioner.packaging.front_matter import METRICS, front_matter
from captioner.packaging.markdown import code, escaped, table
from captioner.packaging.scores_file import STATISTICS
from captioner.printable import printable
from captioner.text.vocabulary import SPECIAL

LIBRARIES = {"captioner": "captioner", "python": "Python", "numpy": "NumPy", "h5py": "h5py"}
MAX_WORST = 5
LONGEST = 200


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
    values = {name: escaped(value, LONGEST) for name, value in properties.items()}
    yield from table(("property", "value"), values.items())


def _data(facts: CardFacts) -> Iterator[str]:
    options = facts.options
    given = "" if options.dataset is None else f" Name: {escaped(options.dataset, LONGEST)}."
    yield f"{SOURCES[facts.model.config.data.source]}.{given}"
    yield ""
    if options.data_terms is not None:
        yield f"Terms: {escaped(options.data_terms)}"
    else:
        yield "Terms: not stated. Ask the author of the model before you use it for more than tests."
    if facts.base_models:
        named = (f"{escaped(one.name)} (license: {escaped(one.license)})" for one in facts.base_models)
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
        split = escaped(facts.model.config.validate.split, LONGEST)
        yield f"Perplexity of the validation captions (split {split}) during training: {perplexity(best['loss']):.2f}."
    elif not facts.scores:
        yield "Not measured."
    if not facts.scores:
        return
    yield ""
    columns = [f"{escaped(one.split, LONGEST)} ({one.images:,} images)" for one in facts.scores]
    rows = []
    for key, (_, title) in METRICS.items():
        rows.append((title, *(_interval(one.scores[key], *one.intervals[key]) for one in facts.scores)))
    for key, (title, form) in STATISTICS.items():
        if any(key in one.statistics for one in facts.scores):
            known = (one.statistics.get(key) for one in facts.scores)
            rows.append((title, *("" if value is None else f"{value:{form}}" for value in known)))
    yield from table(("", *columns), rows)
    yield ""
    yield "Scores are multiplied by 100, with 95 % bootstrap confidence intervals over the images."


def _interval(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f})"


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
    worst = [pair for one in facts.scores for pair in one.worst][:MAX_WORST]
    if worst:
        yield ""
        yield "The captions with the lowest CIDEr-D:"
        yield ""
        yield from table(("caption", "a reference"), ([escaped(text, LONGEST) for text in pair] for pair in worst))


def _training(facts: CardFacts) -> Iterator[str]:
    model = facts.model
    named = {LIBRARIES[name]: version for name, version in facts.versions.items() if name in LIBRARIES}
    versions = ", ".join(f"{name} {escaped(version, 40)}" for name, version in named.items())
    yield f"Trained for {model.meta.step:,} steps with {versions}."
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
    config, run = facts.model.config, f"runs/{facts.name}"
    data = "" if config.data.source == "scenes" else " -o data.root=DATA"
    start = "" if config.train.init_from is None else " -o train.init_from=RUN"
    train = f"captioner train -c config.yaml --run {run}{data}{start}"
    source = f"Save the options above as `config.yaml`.{' DATA is the data set.' if data else ''}"
    if config.train.objective == "distillation":
        decode = [f"--teacher-set {shlex.quote(override)}" for override in teacher_overrides(facts.teacher_decode)]
        given = [f"-o {shlex.quote(override)}" for override in student_overrides(config)]
        train = " ".join((f"captioner distill TEACHER --run {run}{data}", *decode, *given))
        source = "Replace TEACHER by the run or runs that generated the training captions."
    split = shlex.quote(printable(config.validate.split, LONGEST))
    lines = [train, f"captioner evaluate {run} --split {split} --json > scores.json"]
    if facts.version is not None:
        lines.append(f"captioner package {run} --output models/{facts.name} --scores scores.json")
    else:
        lines.append(f"captioner card {run} --scores scores.json")
    yield source
    yield ""
    yield from code("console", "\n".join(lines))
