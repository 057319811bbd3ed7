"""The model card: a Markdown page about a model, with the front matter of Hugging Face.

It states what a model file or a run contains, and no paths of the machine. All texts of users and files are escaped.
"""

from __future__ import annotations

import html
import json
import re

from captioner.captioning.find_checkpoint import BEST, LAST
from captioner.captioning.restore import Restored, model_properties
from captioner.config.yaml_io import config_differences
from captioner.data.encoder_identity import parse_identity
from captioner.data.vocabulary import SPECIAL
from captioner.errors import printable
from captioner.evaluation.score_format import format_score
from captioner.files.checkpoint import MAX_TEXT
from captioner.metrics import TITLES
from captioner.model.losses import perplexity

SYNTAX = re.compile(r"([\\`*_\[\]|~$])")
"""Characters that have a meaning inside a line of Markdown."""
TEMPLATE = """\
---
license: {license_value}
library_name: captioner
pipeline_tag: image-to-text
tags: [captioner, image-captioning, {decoder}, numpy]
---

# {name}

This model writes a one-sentence caption for an image.{use}

```console
captioner {command}
```

## Model

| property | value |
| --- | --- |
{properties}

The data source is {source}. The model contains the words of the training captions, but no images and no captions.

## Scores

Validation (split {split}) at this training step: {scores}.

The perplexity is that of the references. It is higher for a model that was not trained on them.

## Limits

{domain}
- The vocabulary has {words:,} words. The model writes no other words, and does not read text in images.
- The log-probability of a caption does not measure its truth. Do not rely on captions for safety.

## License and terms

License of the model: {license}. Terms of the training data: {terms}.
{made_from}

## Options

Checkpoint: {checkpoint}. Options that differ from the defaults:

```yaml
{options}
```
"""
SCENES = "- The captions describe generated scenes of coloured shapes. They do not describe photographs."
PHOTOGRAPHS = """\
- Photographs unlike the training images get captions of what is in these.
- Objects may be invented or missed; numbers, colours, positions and actions are often wrong.
- Captions reproduce biases of the training captions, such as those about gender and age."""


def model_card(model: Restored) -> str:
    """Write the card of a model."""
    config, card, path = model.config, model.card, model.path
    is_run = path.name in (BEST, LAST)
    name = escaped(path.parent.absolute().name if is_run else path.stem)
    file = f"runs/{name}" if is_run else f"{name}.h5"
    can_encode = parse_identity(model.meta.encoder) is not None
    best = model.meta.best
    scores = [f"perplexity {perplexity(best['loss']):.2f}"] if best and best["step"] == model.meta.step else []
    scores += [f"{title} {format_score(card.scores[key])}" for key, title in TITLES.items() if key in card.scores]
    return TEMPLATE.format(
        license_value=json.dumps(card.license or "unknown"),
        decoder=config.model.decoder,
        name=name,
        use="" if can_encode else " captioner cannot compute its image features, so it captions files of features.",
        command=f"caption photo.jpg --model {file}" if can_encode else f"sample {file} --features new.h5",
        properties="\n".join(f"| {title} | {escaped(value)} |" for title, value in model_properties(model).items()),
        source=config.data.source,
        split=escaped(config.validate.split),
        scores=", ".join(scores) or "not measured",
        words=len(model.vocab) - len(SPECIAL),
        license=escaped(card.license or "unknown"),
        terms=escaped(card.terms) or "not stated; ask the author of the model before you use it for more than tests",
        domain=SCENES if config.data.source == "scenes" else PHOTOGRAPHS,
        made_from=f"\nMade from: {escaped(card.made_from)}. Their licenses and terms apply too.\n"
        if card.made_from
        else "",
        checkpoint=model.checkpoint,
        options=config_differences(config).rstrip("\n"),
    )


def escaped(text: object) -> str:
    """Escape an untrusted text for use inside a line: no Markdown, no HTML, no line end."""
    line = printable(" ".join(str(text).split()), MAX_TEXT)
    return html.escape(SYNTAX.sub(r"\\\1", line), quote=False)
