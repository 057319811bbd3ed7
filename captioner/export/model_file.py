"""Prepare a trained model for others, and write it as a model file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from captioner.arrays import Params, cast
from captioner.captioning.find_checkpoint import BEST, LAST
from captioner.captioning.load import NOT_SHARED
from captioner.captioning.restore import Restored
from captioner.config.checks import has_effect
from captioner.config.option_table import OPTIONS
from captioner.config.options import Config
from captioner.config.overrides import from_record, override, to_record
from captioner.errors import CheckpointError, UsageError
from captioner.export.scores import read_scores
from captioner.files import checkpoint
from captioner.files.checkpoint import Card, Checkpoint, one_line
from captioner.files.header import MODEL
from captioner.files.user_files import check_output
from captioner.model.image_input import standardizer_arrays

MAX_BEAM = 10
"""The widest beam of a shared model that was decoded with consensus re-ranking."""
DEFAULTS: Mapping[str, str] = {"license": "unknown", "language": "en"}
"""What a shared model states if nothing else is known."""


def prepare_to_share(
    restored: Restored, stated: Mapping[str, str | None], scores: Path | None
) -> tuple[Restored, list[str]]:
    """Return a model without paths and options of the machine, with its card; and notes about what differs.

    `stated` are the license, terms, data set and language, and `scores` the output of `captioner evaluate --json`. What
    is not stated is taken from the card of a model file that is exported again.

    Raises: DataError for a file of scores; UsageError for learned captions without terms.
    """
    config, notes = _portable(restored.config)
    card = _card(restored, {name: one_line(text) for name, text in stated.items() if text and text.strip()})
    if card.captions and not card.terms:
        raise UsageError(
            f"{restored.path}: learned the captions of {card.captions}; state the terms of the model that wrote them "
            "and of its training data with --terms"
        )
    if scores is not None:
        card = dataclasses.replace(card, scores=read_scores(scores, config.decode))
    elif from_record(restored.meta.config).decode != config.decode:
        card = dataclasses.replace(card, scores=[])  # they were measured with other options
    if card.base:
        named = ", ".join(
            f"{base.file} (license: {base.license}; terms: {base.terms or 'not stated'})" for base in card.base
        )
        notes.append(
            f"made from {named}: their licenses and terms apply too, and the card lists them; check that the license "
            f"of this model, {card.license}, permits no more than they do"
        )
    # of the environment, only what a loaded model can depend on
    environment = {name: text for name, text in restored.meta.environment.items() if name == "numpy"}
    meta = dataclasses.replace(restored.meta, config=to_record(config), environment=environment, card=card)
    return dataclasses.replace(restored, config=config, meta=meta), notes


def _card(restored: Restored, stated: Mapping[str, str]) -> Card:
    """Return the card of a model with what is stated, its own texts, and the defaults, in this order.

    A model file whose license or terms are replaced is a base of the new one.
    """
    before = restored.meta.card
    own = {name: text for name, text in vars(before).items() if isinstance(text, str) and text}
    texts: dict[str, Any] = {**DEFAULTS, **own, **stated}
    is_same = all(texts.get(name, "") == getattr(before, name) for name in ("license", "terms"))
    base = before.base if is_same else before.as_base(restored.path)
    return dataclasses.replace(before, **texts, base=base)


def _portable(config: Config) -> tuple[Config, list[str]]:
    """Return a config without paths and threads of the machine and without consensus re-ranking, and notes."""
    decode, notes = config.decode, []
    values: dict[str, Any] = {"threads": Config.threads}
    for path, option in OPTIONS.items():
        if option.kind is Path and attrgetter(path)(config) is not None:
            values[path] = NOT_SHARED if has_effect(config, path) else None
    if decode.consensus:
        notes.append(
            f"decode.consensus: set to 0 (was {decode.consensus:g}); re-ranking needs the training captions, which the "
            "file does not contain"
        )
        if decode.beam_width > MAX_BEAM:
            notes.append(
                f"decode.beam_width: set to {MAX_BEAM} (was {decode.beam_width}); without re-ranking, a wider beam is "
                "slower and hardly better"
            )
        values |= {"decode.consensus": 0.0, "decode.beam_width": min(decode.beam_width, MAX_BEAM)}
    return override(config, values), notes


def write_model(model: Restored, output: Path, overwrite: bool = False) -> None:
    """Write a model with float16 parameters (the moving average, if there is one) and without optimizer state.

    Raises: UsageError for the name of a checkpoint, a file of another kind, or any file unless `overwrite`;
    CheckpointError for a parameter that is too large for float16, or when the file cannot be written.
    """
    if output.name in (BEST, LAST):  # a run without its optimizer state could not be resumed
        raise UsageError(f"{output}: is the name of a checkpoint of a run; name another file")
    check_output(output, overwrite, "a model from captioner", MODEL.matches)
    params: Params = {}
    for name, w in model.model.params.items():
        half = cast(w, np.float16)
        if half is None:
            raise CheckpointError(f"{model.path}: array params/{name}: a parameter is too large for float16")
        params[name] = half
    arrays = standardizer_arrays(model.model.standardizer, model.model.region_standardizer)
    familiarity = {} if model.familiarity is None else model.familiarity._asdict()
    checkpoint.save(output, Checkpoint(model.meta, params, {}, arrays, familiarity))
