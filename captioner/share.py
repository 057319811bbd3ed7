"""Prepare a trained model for others, and write it as a model file."""

from __future__ import annotations

import dataclasses
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from captioner.arrays import Params, cast
from captioner.captioning.find_checkpoint import BEST, LAST
from captioner.captioning.load import NOT_SHARED, check_overrides, is_training_split, open_corpus
from captioner.captioning.saved_model import SavedModel
from captioner.captioning.training_summary import fit_summary, summary_from
from captioner.config.checks import has_effect
from captioner.config.option_table import OPTIONS
from captioner.config.options import Config
from captioner.config.overrides import Values, override, to_record
from captioner.data.corpus import captions_digest, with_vocabulary
from captioner.errors import CheckpointError, UsageError
from captioner.files import checkpoint
from captioner.files.checkpoint import LEARNED, Card, one_line
from captioner.files.saved import MODEL
from captioner.files.user_files import check_output


def prepare_to_share(opened: SavedModel, license: str = "", terms: str = "") -> tuple[SavedModel, list[str]]:
    """Return a model without paths and options of the machine, with its card; and notes about what the card lists.

    A model file keeps its license and terms. If they are replaced, the new model is made from it.

    Raises: UsageError for captions without terms that it, or the run that it started from, has learned.
    """
    config, card = _portable(opened.config), opened.card
    license, terms = one_line(license) or card.license or "unknown", one_line(terms) or card.terms
    if (license, terms) != (card.license, card.terms):
        stated = card.terms or card.license != "unknown"
        card = Card(license, terms, card.as_origin(opened.path) if stated else card.made_from, card.scores)
    if card.made_from.startswith(LEARNED) and not card.terms:  # nearest first: no file states their terms
        raise UsageError(
            f"{opened.path}: made from {card.made_from}; state the terms of the model that wrote them and of its "
            "training data with --terms"
        )
    note = (
        f"made from {card.made_from}: their licenses and terms apply too, and the card lists them; check that the "
        f"license of this model, {card.license}, permits no more than they do"
    )
    # of the environment, only what a loaded model can depend on
    environment = {name: text for name, text in opened.meta.environment.items() if name == "numpy"}
    meta = dataclasses.replace(opened.meta, config=to_record(config), environment=environment, card=card)
    return dataclasses.replace(opened, config=config, meta=meta), [note] if card.made_from else []


def _portable(config: Config) -> Config:
    """Return a config without paths and threads of the machine."""
    values: dict[str, Any] = {"threads": Config.threads}
    for path in OPTIONS:
        if isinstance(attrgetter(path)(config), Path):
            values[path] = NOT_SHARED if has_effect(config, path) else None
    return override(config, values)


def with_summary_of(opened: SavedModel, data: Path, overrides: Values) -> SavedModel:
    """Return a model with overrides, and with a training summary that is fitted on a data set.

    The data set has the captions that the model was trained on. Unless the model learned other captions, its features
    may differ in rounding from those of the training, as on another CPU.

    Raises: UsageError when it has other captions; CheckpointError when its encoder differs.
    """
    corpus = with_vocabulary(open_corpus(opened, data), opened.vocab)
    train, meta = corpus.split("train"), opened.meta
    is_same = opened.config.data.captions is None and captions_digest(train) == meta.learned
    if not is_same and not is_training_split(opened, corpus):
        raise UsageError(
            f"--data {data}: expected the training captions of {opened.path}, got others; use the data set that the "
            "model was trained on"
        )
    if opened.summary is not None and opened.summary.regression.images > len(train.captioned_images):
        raise UsageError(
            f"--data {data}: the word regression of {opened.path} starts from that of train.init_from, and would be "
            "lost; leave out --data"
        )
    arrays = fit_summary(train, corpus.vocab)
    card = dataclasses.replace(opened.card, scores={})  # the captions may differ
    meta = dataclasses.replace(meta, train_digest=corpus.train_digest, card=card)
    summary, config = summary_from(arrays, corpus.vocab), override(opened.config, overrides)
    saved = dataclasses.replace(opened.saved, summary=arrays)
    fitted = dataclasses.replace(opened, meta=meta, saved=saved, summary=summary, config=config, changed=overrides)
    check_overrides(fitted)
    return fitted


def write_model(model: SavedModel, output: Path, overwrite: bool = False) -> None:
    """Write a model with float16 parameters (the moving average, if there is one) and without optimizer state.

    Raises: UsageError for the name of a file of a run, a file of another kind, or any file unless `overwrite`;
    CheckpointError for a parameter that is too large for float16, or when the file cannot be written.
    """
    if output.name in (BEST, LAST):  # a run without its optimizer state could not be resumed
        raise UsageError(f"{output}: is the name of a file of a run; use another file")
    may_replace = check_output(output, overwrite, "a model from captioner", MODEL.matches, [model.path])
    params: Params = {}
    for name, w in model.model.params.items():
        half = cast(w, np.float16)
        if half is None:
            raise CheckpointError(f"{model.path}: array params/{name}: a parameter is too large for float16")
        params[name] = half
    checkpoint.save(output, dataclasses.replace(model.saved, meta=model.meta, params=params, slots={}), may_replace)
