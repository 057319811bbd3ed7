"""The images whose captions a page shows during training: always the same ones of the validation split."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from captioner.config.yaml_io import parse
from captioner.data.corpus import Corpus, Split
from captioner.images.attention_picture import Picture
from captioner.inference.attention_files import pictures_of_split
from captioner.optim.schedules import Span
from captioner.preparation.load_corpus import build_corpus
from captioner.report.fixed_images import fixed_rows
from captioner.training.build import build_plan
from captioner.training.run_folder import RunFolder
from captioner.training.training_corpus import build_training_corpus


class FixedImages(NamedTuple):
    """A data set with one small split called `name`, the pictures of its images, and the length of the training.

    `total` is the number of images that the split had.
    """

    corpus: Corpus
    name: str
    pictures: Sequence[Picture]
    span: Span
    total: int


def open_fixed_images(run: RunFolder, text: str, images: Path | None = None) -> FixedImages:
    """Load the data set of a run, whose config has this text, and keep the fixed images of its validation split.

    Photographs are read from the folder `images` alone, because a data set may name any file.

    Raises: DataError, CheckpointError for damaged teacher captions, ConfigError for the config of the run.
    """
    config = parse(text, str(run.config))
    corpus = build_corpus(config)
    name = config.validate.split
    split = corpus.split(name)
    rows = fixed_rows(split)
    find = pictures_of_split(corpus, name, images)
    train = build_training_corpus(config, corpus, run.captions).split("train")
    small = dataclasses.replace(corpus, splits={name: few_images(split, rows)})
    return FixedImages(
        small, name, [find(row) for row in rows], build_plan(config, train).span, len(split.captioned_images)
    )


def few_images(split: Split, images: Sequence[int]) -> Split:
    """Return a split with some of its images and their captions, in memory, so that the data set can be freed."""
    is_true, found = split.is_true, [split.caption_rows(image) for image in images]
    rows = [row for some in found for row in some]
    return Split(
        captions=split.captions[rows],
        image_idxs=np.repeat(np.arange(len(images), dtype=np.int32), [len(some) for some in found]),
        features=np.asarray(split.features[list(images)]),
        image_ids=[split.image_ids[image] for image in images],
        is_true=None if is_true is None else lambda image, words: is_true(images[image], words),
        texts=None if split.texts is None else [split.texts[row] for row in rows],
        regions=None if split.regions is None else np.asarray(split.regions[list(images)]),
    )
