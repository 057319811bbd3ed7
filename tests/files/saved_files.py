"""Saved files of every kind, and files of hostile writers: valid headers before any content."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from captioner.files.header import DATA_SET, MODEL, SIZE, Kind
from captioner.files.saved import open_saved

RNG = np.random.default_rng(0)
KINDS = {kind.name: kind for kind in (MODEL, DATA_SET)}
META = {"encoder": "drawn", "words": ["café", "猫"], "step": 7}
ARRAYS: dict[str, np.ndarray] = {
    "params/W": RNG.standard_normal((30, 4)).astype(np.float32),
    "params/b": RNG.standard_normal(5),
    "slots/v/W": RNG.standard_normal((30, 4)).astype(np.float16),
    "train/features": RNG.standard_normal((6, 3)).astype(np.float32),
    "train/regions": RNG.standard_normal((6, 2, 2, 3)).astype(np.float32),
    "words": np.arange(6, dtype=np.int32),
    "texts": np.array([text.encode() for text in ("a", "", "café", "猫")]),
    "temperature": np.array(-0.0),
}


def contents(kind: Kind, path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return all arrays and the metadata of a file."""
    with open_saved(kind, path) as saved:
        return {name: saved.read(name, "fiuS") for name in saved}, saved.meta


def assert_same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape)
        assert got[name].tobytes() == array.tobytes()


def refusal(kind: Kind, path: Path) -> str:
    """Return the error of a file that must be refused without the file name; it is one printable line."""
    with pytest.raises(kind.error) as caught:
        contents(kind, path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


def behind_header(kind: Kind, content: bytes) -> bytes:
    """Return content with a header that matches it, as a hostile writer can make one."""
    return kind.header(len(content), hashlib.sha256(content).hexdigest()) + content


def hostile(kind: Kind, change: Callable[[h5py.File], object], whole: bytes = b"") -> bytes:
    """Return a changed file, by default one with `meta` and one array, behind a valid header."""
    content = io.BytesIO(whole[SIZE:])
    with h5py.File(content, "r+" if whole else "w", libver="latest") as file:
        if not whole:
            file["meta"] = np.bytes_(b"{}")
            file["params/b"] = ARRAYS["params/b"]
        change(file)
    return behind_header(kind, content.getvalue())
