"""Validation between epochs: loss, scores of generated captions, and caption collapse.

In caption collapse, most images get the same caption, or captions are empty.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array, evenly_spaced
from captioner.captioning.captioner import BEST_ALONE, Captioner
from captioner.captioning.decoding import ENDS_EARLY, decoding_method
from captioner.captioning.load import shares_of_split
from captioner.captioning.saved_model import LoadedModel
from captioner.captioning.training_summary import SharesOfRows
from captioner.config.checks import has_effect, score_interval
from captioner.config.option_table import either
from captioner.config.options import Config
from captioner.data.batches import sequential_batches
from captioner.data.corpus import Corpus, Split
from captioner.errors import DataError
from captioner.evaluation.scoring import EvaluationSet, build_evaluation_set, score_captions
from captioner.metrics import LOWER_IS_BETTER, NAMES
from captioner.model.captioning_model import CaptioningModel, mean_word_loss
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks
from captioner.parallel.thread_pool import ThreadPool
from captioner.training.solver import Step

COLLAPSE_IMAGES = 64
"""Validation images to caption: enough to estimate the fractions of caption collapse, at little cost."""
FIRST_EPOCH = 3
"""Earlier, a model that will be good may still write the same caption for every image."""
MAX_IDENTICAL, MAX_EMPTY = 0.5, 0.1


class Validation:
    """Measurements on the validation split, and their schedule. Several ranks share the captions and images.

    Raises: DataError when the data set has no such split, ConfigError for suppressed words that are not in the
    vocabulary.
    """

    def __init__(self, config: Config, corpus: Corpus, pool: ThreadPool, ranks: Ranks = SINGLE_PROCESS) -> None:
        name = config.validate.split
        if name not in corpus.splits:
            several = len(corpus.split("train").captioned_images) > 1
            raise DataError(
                f"validate.split: expected a split of this data set ({', '.join(corpus.splits)}), got "
                f"{name}; try -o validate.split=train{', or prepare the data set with --val 0.1' if several else ''}"
            )
        self._config, self._corpus, self._split = config, corpus, corpus.split(name)
        self._pool, self._ranks = pool, ranks
        self._shares: SharesOfRows | None = None
        if score_interval(config) is not None:
            decoding_method(config.decode, corpus.vocab)  # report invalid options now, not after an epoch

    @property
    def images(self) -> int:
        """The number of images of the split with references."""
        return len(self._split.captioned_images)

    def is_due(self, step: Step) -> bool:
        """Return whether the epoch that this step ends is validated."""
        return step.epoch % self._config.validate.every == 0

    def is_scored(self, step: Step) -> bool:
        """Return whether that validation scores captions."""
        every = score_interval(self._config)
        return every is not None and step.epoch % every == 0

    def loss(self, model: CaptioningModel) -> float:
        """Compute the mean word loss of the split in nats."""
        return self.loss_of(self._split, model)

    def loss_of(self, split: Split, model: CaptioningModel) -> float:
        """Compute the mean word loss of a split in nats."""
        batches = sequential_batches(split, self._config.train.batch_size, self._ranks)
        return mean_word_loss(model, batches, self._pool, self._ranks.all_reduce)

    def scores(self, loaded: LoadedModel) -> dict[str, float]:
        """Score the captions that a model generates, by name of the metric."""
        split, rows = self._split, self._ranks.partition(np.arange(self._split.features.shape[0]))
        captioner = Captioner(loaded).with_options(BEST_ALONE)
        self._shares = self._shares or shares_of_split(loaded, self._corpus, self._config.validate.split)
        decoded = captioner.decode(split.features, split.regions, rows, self._shares)
        captions = self._ranks.all_gather_partitions([caption.text for caption in decoded])

        def score() -> dict[str, float]:
            evaluation_set, rows = self._evaluation_set
            scored = score_captions(evaluation_set, "model", [captions[row] for row in rows])
            return {name: scored.scores[name] for name in NAMES}

        return self._ranks.on_rank_0(score)

    @cached_property
    def _evaluation_set(self) -> tuple[EvaluationSet, Array]:
        evaluation_set, rows = build_evaluation_set(self._corpus, self._config.validate.split)
        return dataclasses.replace(evaluation_set, train_captions=None), rows

    def collapse(self, loaded: LoadedModel, step: Step) -> Iterator[Collapse]:
        """Yield the kinds of caption collapse, from epoch `FIRST_EPOCH` on."""
        if step.epoch >= FIRST_EPOCH:
            yield from find_collapse(Captioner(loaded), self._split)


def is_better(name: str, scored: Mapping[str, float], best: Mapping[str, float] | None) -> bool:
    """Return whether the metric `name` was measured and is better than in `best`."""
    if name not in scored or best is None:
        return name in scored
    return scored[name] < best[name] if name in LOWER_IS_BETTER else scored[name] > best[name]


class Collapse(NamedTuple):
    """A kind of caption collapse, and its description with what to try."""

    kind: str
    problem: str


def find_collapse(captioner: Captioner, split: Split) -> Iterator[Collapse]:
    """Yield each kind of collapse in the captions of some images, unless the references have it too.

    The captions are those that `captioner sample` prints: a collapse that the decoding options prevent is none.
    """
    images = evenly_spaced(split.features.shape[0], COLLAPSE_IMAGES)
    decoded = captioner.with_options(BEST_ALONE).decode(split.features, split.regions, images)
    captions = [caption.text.split() for caption in decoded]
    _, first = np.unique(split.image_idxs, return_index=True)
    references = [captioner.loaded.vocab.decode(ids) for ids in split.captions[first].tolist()]
    identical = _identical(captions)
    if len(images) > 1 and identical > max(MAX_IDENTICAL, 2 * _identical(references)):
        config, remedies = captioner.loaded.config, ["a smaller train.learning_rate"]
        if not config.data.standardize:
            remedies.append("data.standardize true")
        if has_effect(config, "model.image_input") and config.model.image_input != "every":
            remedies.append("model.image_input every")
        yield Collapse(
            "identical",
            f"{identical:.0%} of {len(images)} validation images get the same caption: the model ignores the image; "
            f"try {either(remedies)}",
        )
    if (empty := captions.count([])) > MAX_EMPTY * len(images):
        yield Collapse("empty", f"{empty} of {len(images)} captions of validation images are empty: {ENDS_EARLY}")


def _identical(captions: Sequence[Sequence[str]]) -> float:
    """Return the relative frequency of the most common caption that is not empty."""
    return max(Counter(map(tuple, filter(None, captions))).values(), default=0) / len(captions)
