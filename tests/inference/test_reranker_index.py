"""The file of a re-ranking index: saving and loading preserve it, and invalid files are rejected."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.errors import CheckpointError
from captioner.inference.reranker_index import SEAL, Index, fold, load, save, unfold
from captioner.storage.sealed_arrays import write


def test_a_saved_index_loads_unchanged(index: Index, tmp_path: Path) -> None:
    save(tmp_path / "x.h5", index)
    found = load(tmp_path / "x.h5")
    assert found.origin == index.origin
    assert found.arrays.keys() == index.arrays.keys()
    for name, array in index.arrays.items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)


@pytest.mark.parametrize("n", [1, 2, 7, 128, 129, 400])
def test_fold_and_unfold_are_inverse(n: int) -> None:
    matrix = np.random.default_rng(n).standard_normal((n, n)).astype(np.float16).astype(np.float32)
    matrix = (matrix + matrix.T) / 2
    assert fold(matrix).shape == (n * (n + 1) // 2,)
    np.testing.assert_array_equal(unfold(fold(matrix), n), matrix.astype(np.float16))


# --- behind a whole seal


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict[str, np.ndarray]], object]:
    return lambda arrays: arrays.update({name: change(arrays[name])})


def at_first(value: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: np.concatenate([np.array([value], array.dtype), array[1:]])


def no_images(arrays: dict[str, np.ndarray]) -> None:
    arrays.update({name: arrays[name][:0] for name in ("directions", "inverse", "words", "lengths", "counts")})


HOSTILE: dict[str, Callable[[dict[str, np.ndarray]], object]] = {
    "an array missing": lambda arrays: arrays.pop("counts"),
    "another array": lambda arrays: arrays.update(x=np.zeros(3)),
    "another type": changed("words", lambda words: words.astype(np.int64)),
    "floats for ids": changed("words", lambda words: words.astype(np.float32)),
    "more dimensions": changed("std", lambda std: std[None]),
    "a word more": changed("words", lambda words: np.append(words, words[:1])),
    "a caption less": changed("lengths", lambda lengths: lengths[:-1]),
    "an image without captions": changed("counts", at_first(0)),
    "a negative count": changed("counts", at_first(-5)),
    "an id below -1": changed("words", at_first(-2)),
    "a triangle too short": changed("inverse", lambda inverse: inverse[:-1]),
    "another width": changed("mean", lambda mean: mean[:-1]),
    "no deviation": changed("std", at_first(0)),
    "next to no deviation": changed("std", at_first(1e-308)),
    "a mean beyond all features": changed("mean", at_first(-1e300)),
    "no images": no_images,
    "a mean beyond them above": changed("mean", at_first(1e300)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_index_with_a_valid_seal_is_rejected(name: str, index: Index, tmp_path: Path) -> None:
    arrays = dict(index.arrays)
    HOSTILE[name](arrays)
    write(SEAL, tmp_path / "x.h5", arrays, dataclasses.asdict(index.origin))
    with pytest.raises(CheckpointError, match=rf"^{tmp_path}/x.h5: not readable as a re-ranking index: ValueError: "):
        load(tmp_path / "x.h5")


@pytest.mark.parametrize("meta", [{}, {"train": "a"}, {"train": 1, "vocabulary": "b", "encoder": "c"}, {"x": "y"}])
def test_an_index_without_origin_is_rejected(meta: dict[str, Any], index: Index, tmp_path: Path) -> None:
    write(SEAL, tmp_path / "x.h5", index.arrays, meta)
    with pytest.raises(CheckpointError, match="not readable as a re-ranking index"):
        load(tmp_path / "x.h5")
