"""Metadata of exported files: a JSON text with the config, the vocabulary and the identity of the image encoder.

It contains no path: `data.root` is replaced by the constant `DATA_SET`.
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

from captioner.config.options import Config
from captioner.config.yaml_io import dump, parse_saved
from captioner.data.vocabulary import SPECIAL, Vocab
from captioner.errors import CaptionerError, DataError, quoted
from captioner.inference.package_info import DATA_SET
from captioner.inference.restore import Restored
from captioner.storage.base_models import BASE_MODELS
from captioner.storage.checkpoint import Meta

KEY = "captioner"
"""The name of the JSON text in the metadata of a file."""
VERSION = 1
SECTIONS = ("data", "model", "decode")
"""The sections of the config that a file contains: those that captioning uses."""
FIELDS = ("words", "encoder", "feature_dim", "region_dim", "grid", "step", "train_fingerprint")
"""The fields that a file has in common with the metadata of a checkpoint."""
MAX_BYTES = 1 << 26


def write_metadata(restored: Restored) -> str:
    """Describe a model as JSON."""
    config = dataclasses.asdict(_without_path(restored.config))
    fields = {name: getattr(restored.meta, name) for name in FIELDS}
    values = {"format_version": VERSION, "config": {name: config[name] for name in SECTIONS}, **fields}
    values[BASE_MODELS] = list(map(dataclasses.asdict, restored.lineage))
    return json.dumps(values, allow_nan=False, default=os.fspath)


def read_metadata(text: str, where: str) -> tuple[Config, Meta]:
    """Parse and check the JSON text of a file, which may be hostile; `where` names the file.

    Raises: DataError.
    """
    if len(text) > MAX_BYTES:
        raise DataError(f"{where}: metadata: expected at most {MAX_BYTES:,} bytes of JSON, got {len(text):,}")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: metadata: not JSON: {error}") from error
    if not isinstance(values, dict):
        raise DataError(f"{where}: metadata: expected a JSON object, got {quoted(values)}")
    version = values.pop("format_version", None)
    if version is True or version != VERSION:
        raise DataError(
            f"{where}: metadata: expected format_version {VERSION}, got {quoted(version)}; "
            "use the version of captioner that wrote the file"
        )
    values.setdefault(BASE_MODELS, [])  # missing in older files
    if other := sorted(values.keys() ^ {"config", BASE_MODELS, *FIELDS}):
        raise DataError(f"{where}: metadata: missing or unknown: {', '.join(map(quoted, other))}")
    try:
        config = _read_config(values.pop("config"), where)
        # the other fields of a checkpoint, as in a run without data set and validation
        untrained: dict[str, Any] = {"fingerprint": "", "probe": [], "best": None, "since_best": 0, "environment": {}}
        meta = Meta.from_json(json.dumps({**values, **untrained, "config": dump(config)}))
        Vocab(meta.words)
        if "" in meta.words:
            raise ValueError("words: expected words of at least one character, got an empty word")
        if tuple(meta.words[: len(SPECIAL)]) != SPECIAL:
            raise ValueError(f"words: expected {' '.join(SPECIAL)} first, got {quoted(meta.words[: len(SPECIAL)])}")
    except CaptionerError as error:
        raise DataError(f"{where}: metadata: {'; '.join(str(error).splitlines())}") from error
    except ValueError as error:
        raise DataError(f"{where}: metadata: {error}") from error
    return config, meta


def _read_config(values: Any, where: str) -> Config:
    if not isinstance(values, dict) or values.keys() != set(SECTIONS):
        got = sorted(values) if isinstance(values, dict) else values
        raise ValueError(f"config: expected the sections {', '.join(SECTIONS)}, got {quoted(got)}")
    # JSON is YAML; one option per line gives the messages useful line numbers
    return _without_path(parse_saved(json.dumps(values, indent=1, ensure_ascii=False), "config"))


def _without_path(config: Config) -> Config:
    """Replace the path of the data set: a private one when writing, one that the file chose when reading."""
    root = None if config.data.root is None else DATA_SET
    return dataclasses.replace(config, data=dataclasses.replace(config.data, root=root))
