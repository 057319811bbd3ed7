"""Prepare a trained model for others, and write it as a model file or a safetensors file.

Source: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from captioner.arrays import Array, Params, cast
from captioner.captioning.checks import check_overrides, is_training_split
from captioner.captioning.find_checkpoint import BEST, LAST
from captioner.captioning.load import NOT_SHARED, open_corpus
from captioner.captioning.restore import Restored
from captioner.captioning.training_summary import fit_summary, summary_from
from captioner.config.checks import has_effect
from captioner.config.option_table import OPTIONS
from captioner.config.options import Config, Decode
from captioner.config.overrides import Values, from_record, override, to_record
from captioner.data.corpus import captions_digest, with_vocabulary
from captioner.errors import CheckpointError, DataError, UsageError, quoted
from captioner.files import checkpoint
from captioner.files.atomic import write_file
from captioner.files.checkpoint import Card, Checkpoint, one_line
from captioner.files.header import MODEL
from captioner.files.user_files import check_output, read_start, read_text
from captioner.metrics import NAMES
from captioner.model.image_input import standardizer_arrays
from captioner.model.pytorch import to_tensors

DEFAULTS: Mapping[str, str] = {"license": "unknown", "language": "en"}
"""What a shared model states if nothing else is known."""
STATISTICS = ("perplexity", "correct", "pointing", "distinct", "novel", "repeats")
"""Statistics that a model file states if they are known."""
KEY = "captioner"
"""The name of the JSON text in the metadata of a file."""
SECTIONS = ("data", "model", "decode")
"""The sections of the config that a file contains: those that captioning uses."""
FIELDS = ("words", "encoder", "feature_dim", "region_dim", "grid", "step", "train_digest")
"""The fields that a file has in common with the metadata of a checkpoint."""
STANDARDIZATION = ("_mean", "_std")
"""The ends of the names of the tensors of standardization, which are always float64."""


def prepare_to_share(
    restored: Restored, stated: Mapping[str, str | None], scores: Path | None
) -> tuple[Restored, list[str]]:
    """Return a model without paths and options of the machine, with its card; and notes about what differs.

    `stated` are the license, terms, data set and language, and `scores` the output of `captioner evaluate --json`. What
    is not stated is taken from the card of a model file that is exported again.

    Raises: DataError for a file of scores; UsageError for learned captions without terms.
    """
    config, notes = _portable(restored.config), []
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


def _portable(config: Config) -> Config:
    """Return a config without paths and threads of the machine."""
    values: dict[str, Any] = {"threads": Config.threads}
    for path, option in OPTIONS.items():
        if option.kind is Path and attrgetter(path)(config) is not None:
            values[path] = NOT_SHARED if has_effect(config, path) else None
    return override(config, values)


def read_scores(path: Path, decode: Decode) -> list[dict[str, Any]]:
    """Read a file of scores, which must have been measured with the decoding options `decode`.

    Raises: DataError for a file that is no such output, or for scores of other decoding options.
    """
    lines = read_text(path, "the output of `captioner evaluate --json`").splitlines()
    scores = [_parse_line(line, decode, f"{path}:{n}") for n, line in enumerate(lines, 1) if line.strip()]
    splits = [record["split"] for record in scores]
    if not scores or len(set(splits)) < len(splits):
        got = f"{len(splits)} of {len(set(splits))} splits"
        raise DataError(f"{path}: expected one line of `captioner evaluate --json` for each split, got {got}")
    return scores


def _parse_line(line: str, decode: Decode, where: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
        measured = values.get("decode") or {}
        record = parse_scores(values)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(
            f"{where}: expected a line of `captioner evaluate --json`, got {quoted(line, 40)} ({quoted(error)})"
        ) from error
    for name, value in asdict(decode).items():
        if name in measured and measured[name] != value:
            shown = "null" if value is None else f"{value:g}" if isinstance(value, float) else value
            raise DataError(
                f"{where}: measured with decode.{name} {quoted(measured[name], 40)}, but the model has {shown}; "
                f"try captioner evaluate -o decode.{name}={shown}"
            )
    return record


def parse_scores(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a model file states of a record: split, images, scores, intervals and statistics, also by source.

    Raises: ValueError, LookupError, TypeError, AttributeError or OverflowError for another record.
    """
    parts = {
        source: parse_scores({**part, "split": source, "sources": {}})
        for source, part in values.get("sources", {}).items()
    }
    return {
        "split": str(values["split"]),
        "images": int(values["images"]),
        **{name: _number(values[name]) for name in NAMES},
        "intervals": {name: [_number(bound) for bound in values["intervals"][name][:2]] for name in NAMES},
        **{name: _number(values[name]) for name in STATISTICS if values.get(name) is not None},
        **({"sources": parts} if parts else {}),
    }


def _number(value: Any) -> float:
    if not 0 <= value < float("inf"):
        raise ValueError(f"expected a number of at least 0, got {value}")
    return float(value)


def with_summary_of(restored: Restored, data: Path, overrides: Values) -> Restored:
    """Return a model with overrides, and with a training summary that is fitted on a data set.

    The data set has the captions that the model was trained on. Unless the model learned other captions, its features
    may differ in rounding from those of the training, as on another CPU.

    Raises: UsageError when it has other captions; CheckpointError when its encoder differs.
    """
    corpus = with_vocabulary(open_corpus(restored, data), restored.vocab)
    train, meta = corpus.split("train"), restored.meta
    is_same = not meta.card.captions and captions_digest(train) == meta.learned
    if not is_same and not is_training_split(restored, corpus):
        raise UsageError(
            f"--data {data}: expected the training captions of {restored.path}, got others; use the data set that the "
            "model was trained on"
        )
    arrays = fit_summary(train, corpus.vocab)
    meta = dataclasses.replace(meta, train_digest=corpus.train_digest)
    summary, config = summary_from(arrays, corpus.vocab), override(restored.config, overrides)
    fitted = dataclasses.replace(restored, meta=meta, summary_arrays=arrays, summary=summary, config=config)
    check_overrides(fitted, overrides)
    return fitted


def write_model(model: Restored, output: Path, overwrite: bool = False) -> None:
    """Write a model with float16 parameters (the moving average, if there is one) and without optimizer state.

    Raises: UsageError for the name of a file of a run, a file of another kind, or any file unless `overwrite`;
    CheckpointError for a parameter that is too large for float16, or when the file cannot be written.
    """
    if output.name in (BEST, LAST):  # a run without its optimizer state could not be resumed
        raise UsageError(f"{output}: is the name of a file of a run; use another file")
    check_output(output, overwrite, "a model from captioner", MODEL.matches, [model.path])
    params: Params = {}
    for name, w in model.model.params.items():
        half = cast(w, np.float16)
        if half is None:
            raise CheckpointError(f"{model.path}: array params/{name}: a parameter is too large for float16")
        params[name] = half
    arrays = standardizer_arrays(model.model.standardizer, model.model.region_standardizer)
    checkpoint.save(output, Checkpoint(model.meta, params, {}, arrays, model.summary_arrays))


def export_safetensors(restored: Restored, output: Path, dtype: str | None = None, overwrite: bool = False) -> None:
    """Write the tensors of a model to a file, as `dtype` or the type of the parameters.

    Raises: UsageError when the file exists and `overwrite` is not set; DataError when a parameter is too large for the
    type; CaptionerError when the file cannot be written.
    """
    from safetensors.numpy import save

    check_output(output, overwrite, "a file from `captioner export`", _is_exported)
    tensors = to_tensors(restored.model)
    for tensor, array in tensors.items():
        if dtype is not None and not tensor.endswith(STANDARDIZATION):
            tensors[tensor] = _convert(tensor, array, dtype)
    write_file(output, save(tensors, {KEY: _metadata(restored)}))


def _metadata(restored: Restored) -> str:
    """Describe a model as JSON: config, vocabulary, the identity of the image encoder, and the card."""
    config = asdict(restored.config)
    fields = {name: getattr(restored.meta, name) for name in FIELDS}
    values = {"config": {name: config[name] for name in SECTIONS}, **fields, "card": asdict(restored.meta.card)}
    return json.dumps(values, allow_nan=False, default=str)


def _convert(name: str, array: Array, dtype: str) -> Array:
    """Convert a tensor to a float type.

    Raises: DataError if a number is too large for the type.
    """
    converted = cast(array, dtype)
    if converted is None:
        largest = np.abs(array).max()
        raise DataError(f"{name}: a parameter is too large for {dtype}: {largest:g}; export another dtype")
    return converted


def _is_exported(path: str | os.PathLike[str]) -> bool:
    """Return whether a file begins like a safetensors file with the metadata of captioner alone."""
    start = b'{"__metadata__":{"%s":' % KEY.encode()
    return (read_start(path, 8 + len(start)) or b"")[8:] == start
