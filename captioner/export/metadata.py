"""Metadata of exported files: a JSON text with the config, the vocabulary and the identity of the image encoder.

It contains no path: `data.root` is replaced by the constant `DATA_SET`.
"""

from __future__ import annotations

import dataclasses
import json

from captioner.inference.restore import Restored
from captioner.storage.base_models import BASE_MODELS

KEY = "captioner"
"""The name of the JSON text in the metadata of a file."""
VERSION = 1
SECTIONS = ("data", "model", "decode")
"""The sections of the config that a file contains: those that captioning uses."""
FIELDS = ("words", "encoder", "feature_dim", "region_dim", "grid", "step", "train_fingerprint")
"""The fields that a file has in common with the metadata of a checkpoint."""
DATA_SET = "DATA_SET"
"""Placeholder for the path of the data set."""


def write_metadata(restored: Restored) -> str:
    """Describe a model as JSON."""
    config = dataclasses.asdict(restored.config)
    if restored.config.data.root is not None:
        config["data"]["root"] = DATA_SET
    fields = {name: getattr(restored.meta, name) for name in FIELDS}
    values = {"format_version": VERSION, "config": {name: config[name] for name in SECTIONS}, **fields}
    values[BASE_MODELS] = list(map(dataclasses.asdict, restored.lineage))
    return json.dumps(values, allow_nan=False)
