"""Checkpoints for tests: a valid one, changed ones with a matching digest, and the error of `load`."""

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from captioner.errors import CheckpointError
from captioner.storage.checkpoint import Checkpoint, Meta, load
from captioner.storage.sealed import MODEL_SEAL

META = Meta(
    config="seed: 3\n",
    words=["<NULL>", "<START>", "<END>", "<UNK>", "café"],
    feature_dim=2,
    encoder="drawn",
    fingerprint="ab" * 32,
    probe=[0.5, -0.25],
    step=7,
    best={"step": 5, "epoch": 1, "loss": 2.5},
    since_best=1,
    environment={},
    train_fingerprint="cd" * 32,
)
RNG = np.random.default_rng(0)
PARAMS = {"W_proj": RNG.standard_normal((3, 4)).astype(np.float32), "b": RNG.standard_normal(5)}
WHOLE = Checkpoint(META, PARAMS, {"m": PARAMS, "v": {name: w * w for name, w in PARAMS.items()}}, {"mean": np.zeros(2)})


def error_of(path: Path) -> str:
    """Return the error of `load` without the file name; it must be one printable line."""
    with pytest.raises(CheckpointError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


def sealed(payload: bytes) -> bytes:
    """Seal a payload with the right digest, as a hostile writer can."""
    digest = hashlib.sha256(payload).hexdigest()
    return MODEL_SEAL.of(len(payload), digest) + payload


def image_of(change: Callable[[h5py.File], object]) -> bytes:
    payload = io.BytesIO()
    with h5py.File(payload, "w", libver="latest") as file:
        file["meta"] = np.bytes_(json.dumps(dataclasses.asdict(META)).encode())
        for name, array in PARAMS.items():
            file[f"params/{name}"] = array
        change(file)
    return payload.getvalue()


def replace(file: h5py.File, name: str, **how: Any) -> None:
    del file[name]
    file.create_dataset(name, **how)
