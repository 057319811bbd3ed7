"""The assignment's `cs231n/coco_utils.py`: data loading and caption decoding."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from captioner.arrays import Array
from captioner.data.cs231n import read_folder

__all__ = ["decode_captions", "load_coco_data", "sample_coco_minibatch"]


def load_coco_data(
    base_dir: str | os.PathLike[str] = "cs231n/datasets/coco_captioning",
    max_train: int | None = None,
    pca_features: bool = True,
) -> dict[str, Any]:
    """Load the assignment's data as one dict; with `max_train`, sample that many training captions with replacement.

    Raises: DataError when a file is missing or damaged.
    """
    data: dict[str, Any] = dict(read_folder(base_dir, pca=pca_features))
    if max_train is not None:
        rows = np.random.randint(len(data["train_captions"]), size=max_train)
        data["train_captions"] = data["train_captions"][rows]
        data["train_image_idxs"] = data["train_image_idxs"][rows]
    return data


def sample_coco_minibatch(data: Mapping[str, Any], batch_size: int = 100, split: str = "train") -> tuple[Any, Any, Any]:
    """Sample captions with replacement, with the features and URLs of their images.

    Shapes: -> captions (N, T), features (N, F), urls (N,).
    """
    rows = np.random.choice(len(data[f"{split}_captions"]), batch_size)
    images = data[f"{split}_image_idxs"][rows]
    return data[f"{split}_captions"][rows], data[f"{split}_features"][images], data[f"{split}_urls"][images]


def decode_captions(captions: Array, idx_to_word: Sequence[str] | Mapping[int, str]) -> str | list[str]:
    """Convert captions to text up to and including `<END>`, without `<NULL>`; a single caption gives a str.

    Shapes: captions (N, T) or (T,).
    """
    if captions.ndim == 1:
        return _text(captions.tolist(), idx_to_word)
    return [_text(row, idx_to_word) for row in captions.tolist()]


def _text(ids: list[int], idx_to_word: Sequence[str] | Mapping[int, str]) -> str:
    words = []
    for i in ids:
        words.append(idx_to_word[i])
        if words[-1] == "<END>":
            break
    return " ".join(word for word in words if word != "<NULL>")
