"""The model card: a Markdown page about a model, with the front matter of Hugging Face.

It states what a model file or a run contains, and no paths of the machine. All texts of users and files are escaped.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from captioner.captioning.find_checkpoint import BEST, LAST
from captioner.captioning.restore import Restored, model_properties
from captioner.config.yaml_io import config_differences
from captioner.data.vocabulary import SPECIAL
from captioner.errors import CheckpointError, printable
from captioner.evaluation.score_format import SCORES, format_interval, format_score, score_columns, statistic_rows
from captioner.images.recipe import parse_identity
from captioner.model.losses import perplexity
from captioner.share import parse_scores

TEXT = 2000
"""Maximum characters of a text."""
SYNTAX = re.compile(r"([\\`*_\[\]|~$])")
"""Characters that have a meaning inside a line of Markdown."""
TEMPLATE = """\
---
license: {license_value}
language: [{language_value}]
library_name: captioner
pipeline_tag: image-to-text
tags: [captioner, image-captioning, {decoder}, numpy]
---

# {name}

This model writes a one-sentence caption for an image.{use}

```console
captioner sample {file} {input}
```

## Model

{properties}

## Training data

{source}.{dataset} The model contains the words of the training captions, but no images and no captions.

{objective}

## Scores

{scores}

## Limits

{limits}

## License and terms

License of the model: {license}. Terms of the training data: {terms}.

{base}

## Options

Checkpoint: {checkpoint}. Options that differ from the defaults:

```yaml
{options}
```
"""
SOURCES: Mapping[str, str] = {
    "scenes": "Scenes of coloured shapes that captioner generates",
    "cs231n": "A data set in the layout of CS231n's assignment 3",
    "prepared": "Photographs with captions, prepared with `captioner prepare`",
}
"""What is known of the training data by `data.source`."""
LEARNED = "It was trained on captions in a file, which replaced the reference captions"
OBJECTIVES: Mapping[str, str] = {
    "self_critical": "It was trained with rewards for captions that it sampled (self-critical training)",
}
"""What the card says of models that were not trained on the captions of people, by `train.objective`."""
LIMITS: Mapping[str, Sequence[str]] = {
    "scenes": ("The captions describe generated scenes of coloured shapes. They do not describe photographs.",)
}
"""Limits of the models of a data source; those of other sources are `PHOTOGRAPHS`."""
PHOTOGRAPHS = (
    "Photographs outside the training domain get captions of what is in the training images.",
    "Objects may be invented or missed; numbers, colours, positions and actions are often wrong.",
    "Captions reproduce biases of the training captions about people, such as gender and age.",
)


def model_card(model: Restored) -> str:
    """Write the card of a model. Raises: CheckpointError for scores of another form in the file."""
    config, card, path = model.config, model.meta.card, model.path
    is_run = path.name in (BEST, LAST)
    name = escaped(path.parent.absolute().name if is_run else path.stem)
    can_encode = parse_identity(model.meta.encoder) is not None
    objective = LEARNED if card.captions else OBJECTIVES.get(config.train.objective)
    learned = f" ({escaped(card.captions)})" if card.captions else ""
    limits = [
        *LIMITS.get(config.data.source, PHOTOGRAPHS),
        f"The vocabulary has {len(model.vocab) - len(SPECIAL):,} words. The model writes no other words, and does not "
        "read text in images.",
        "The log-probability of a caption does not measure its truth. Do not rely on captions for safety.",
    ]
    properties = {title: escaped(value) for title, value in model_properties(model).items()}
    text = TEMPLATE.format(
        license_value=json.dumps(card.license or "unknown", ensure_ascii=False),
        language_value=json.dumps(card.language or "en", ensure_ascii=False),
        decoder=config.model.decoder,
        name=name,
        use="" if can_encode else " captioner cannot compute its image features, so it captions files of features.",
        file=f"runs/{name}" if is_run else f"{name}.h5",
        input="photo.jpg" if can_encode else "--features new.h5",
        properties=table(("property", "value"), properties.items()),
        source=SOURCES.get(config.data.source, f"Data source {config.data.source}"),
        dataset=f" Name: {escaped(card.dataset)}." if card.dataset else "",
        objective=f"{objective}{learned}, so the perplexity of the references is higher." if objective else "",
        scores=_scores(model),
        limits="\n".join(f"- {limit}" for limit in limits),
        license=escaped(card.license or "unknown"),
        terms=escaped(card.terms) or "not stated; ask the author of the model before you use it for more than tests",
        base="\n".join(
            f"- Made from {escaped(base.file)} (license: {escaped(base.license)}; terms: "
            f"{escaped(base.terms or 'not stated')}). Its license and terms apply too."
            for base in card.base
        ),
        checkpoint=model.checkpoint,
        options=config_differences(config).rstrip("\n"),
    )
    return re.sub(r"\n{3,}", "\n\n", text)


def _scores(model: Restored) -> str:
    """Return a table with a column per split and source, or what is known from training without scores."""
    if not model.meta.card.scores:
        best = model.meta.best
        if best is None or best["step"] != model.meta.step:
            return "Not measured."
        split = escaped(model.config.validate.split)
        return f"Perplexity of the validation captions (split {split}) during training: {perplexity(best['loss']):.2f}."
    try:
        splits: list[dict[str, Any]] = [parse_scores(record) for record in model.meta.card.scores]
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise CheckpointError(f"{model.path}: meta: card: scores: {printable(error, 80)}") from error
    named = [column for split in splits for column in score_columns(split, split["split"])]
    columns = [part for _, part in named]
    head = [f"{escaped(name)} ({part['images']:,} images)" for name, part in named]
    rows = [
        (title, *(f"{format_score(p[key])} ({format_interval(p['intervals'][key])})" for p in columns))
        for key, title in SCORES.items()
    ]
    statistics = [(title, *cells) for title, cells in statistic_rows(columns).values()]
    explained = "Scores are multiplied by 100, with 95 % bootstrap confidence intervals over the images."
    if len(columns) > len(splits):
        explained += " Each source is scored separately; images are resampled within the sources."
    return f"{table(('', *head), [*rows, *statistics])}\n\n{explained}"


def escaped(text: object) -> str:
    """Escape an untrusted text for use inside a line: no Markdown, no HTML, no line end."""
    line = printable(" ".join(str(text).split()), TEXT)
    return html.escape(SYNTAX.sub(r"\\\1", line), quote=False)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; the cells are Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))
