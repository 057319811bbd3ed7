"""A checkpoint that does not read back as saved does not replace the previous one."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from checkpoints import PARAMS, WHOLE

from captioner.errors import CheckpointError
from captioner.storage import checkpoint, sealed_arrays
from captioner.storage.checkpoint import save
from captioner.storage.sealed import SIZE
from captioner.storage.seals import SEAL

Write = Callable[..., object]
"""A function of a path, arrays by name, and the text of `meta`."""
REAL = sealed_arrays._write


def faulty(change: Callable[[bytearray], object]) -> Write:
    """Return a writer that changes the image before it is sealed."""

    def write(path: Path, arrays: dict[str, np.ndarray], meta: str) -> None:
        REAL(path, arrays, meta)
        image = bytearray(path.read_bytes()[SIZE:])
        change(image)
        path.write_bytes(bytes(SIZE) + image)

    return write


def writing(other: dict[str, np.ndarray | None]) -> Write:
    """Return a writer that replaces arrays; None removes one."""

    def write(path: Path, arrays: dict[str, np.ndarray], meta: str) -> None:
        changed = {**arrays, **other}
        REAL(path, {name: array for name, array in changed.items() if array is not None}, meta)

    return write


def another_step(path: Path, arrays: dict[str, np.ndarray], meta: str) -> None:
    REAL(path, arrays, meta.replace('"step": 7', '"step": 8'))


def flip(image: bytearray) -> None:
    at = image.index(PARAMS["W_proj"].tobytes())
    image[at] ^= 1


OTHER = "array params/W_proj: expected float32 (3, 4), got"
FAULTY: dict[str, tuple[Write, str]] = {
    "missing array": (writing({"params/W_proj": None}), "array params/W_proj: missing"),
    "missing slot": (writing({f"slots/m/{name}": None for name in PARAMS}), "array slots/m/W_proj: missing"),
    "extra array": (writing({"params/x": np.ones(2)}), "array params/x: not expected"),
    "wrong dtype": (writing({"params/W_proj": PARAMS["W_proj"].astype(np.float64)}), f"{OTHER} float64 (3, 4)"),
    "wrong shape": (writing({"params/W_proj": PARAMS["W_proj"].T.copy()}), f"{OTHER} float32 (4, 3)"),
    "flipped bit": (faulty(flip), "array params/W_proj: the numbers differ"),
    "sign of a zero": (
        writing({"standardizer/mean": -WHOLE.standardizer["mean"]}), "array standardizer/mean: the numbers differ"
    ),
    "truncated": (faulty(lambda image: image.__delitem__(slice(-200, None))), "not readable as a checkpoint: "),
    "empty": (faulty(bytearray.clear), "not readable as a checkpoint: "),
    "no superblock": (faulty(lambda image: image.__setitem__(slice(8), bytes(8))), "not readable as a checkpoint: "),
    "wrong step": (another_step, "meta differs"),
    "no HDF5": (lambda path, *_: path.write_bytes(bytes(2000)), "not readable as a checkpoint: "),
    "not written": (lambda path, *_: path.touch(), "not readable as a checkpoint: "),
}  # fmt: skip


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("name", FAULTY)
def test_a_checkpoint_that_reads_back_differently_does_not_replace_the_old_one(
    name: str, before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, difference = FAULTY[name]
    path = tmp_path / "last.h5"
    save(path, WHOLE)
    whole = path.read_bytes()
    if not before:
        path.unlink()
    monkeypatch.setattr(sealed_arrays, "_write", write)
    with pytest.raises(CheckpointError) as caught:
        save(path, WHOLE)
    message = str(caught.value)
    assert message.startswith(f"{path}: the new checkpoint does not read back as saved: {difference}")
    kept = "the previous checkpoint is kept" if before else "there is no previous checkpoint"
    assert f"; {kept}; try another version of h5py (this is {h5py.__version__}), or check" in message
    assert message.isprintable()
    assert ".tmp" not in message
    assert os.listdir(tmp_path) == (["last.h5"] if before else [])
    assert not before or path.read_bytes() == whole


def test_a_checkpoint_above_the_maximum_size_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.h5"
    save(path, WHOLE)
    whole = path.read_bytes()
    monkeypatch.setattr(checkpoint, "SEAL", dataclasses.replace(SEAL, max_bytes=100))
    with pytest.raises(CheckpointError, match="does not read back as saved: expected at most 100 bytes"):
        save(path, WHOLE)
    assert path.read_bytes() == whole
