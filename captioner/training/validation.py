"""Validation between epochs: loss, scores of generated captions, and caption collapse."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np

from captioner.arrays import Array
from captioner.config.options import Config
from captioner.data.batches import sequential_batches
from captioner.data.corpus import Corpus, Split
from captioner.decode import Reranker
from captioner.errors import DataError
from captioner.evaluation.score_model import build_evaluation_set
from captioner.evaluation.scoring import EvaluationSet, score_captions
from captioner.inference.build_reranker_index import build_index
from captioner.inference.captioner import Captioner
from captioner.inference.decoder import build_decoder
from captioner.inference.reranker_index import Index
from captioner.inference.restore import LoadedModel
from captioner.metrics import NAMES
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.perplexity import mean_word_loss
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks
from captioner.parallel.thread_pool import ThreadPool
from captioner.training.caption_collapse import FIRST_EPOCH, Collapse, find_collapse
from captioner.training.solver import Step

LOWER_IS_BETTER = frozenset({"loss"})
"""Metrics where lower is better; for all others higher is better."""


class Validation:
    """Measurements on the validation split, and their schedule. Several ranks share the captions and images.

    Raises: DataError when the data set has no such split, ConfigError for suppressed words that are not in the
    vocabulary.
    """

    def __init__(self, config: Config, corpus: Corpus, pool: ThreadPool, ranks: Ranks = SINGLE_PROCESS) -> None:
        name = config.validate.split
        if name not in corpus.splits:
            raise DataError(
                f"validate.split: expected a split of this data set ({', '.join(corpus.splits)}), got "
                f"{name}; try -o validate.split=train, or prepare the data set with --val 0.1"
            )
        self._config, self._corpus, self._split = config, corpus, corpus.split(name)
        self._pool, self._ranks = pool, ranks
        if config.validate.score_every is not None:
            build_decoder(config.decode, corpus.vocab)  # report invalid options now, not after an epoch

    def is_due(self, step: Step) -> bool:
        """Return whether the epoch that this step ends is validated."""
        return step.epoch % self._config.validate.every == 0

    def is_scored(self, step: Step) -> bool:
        """Return whether that validation scores captions."""
        every = self._config.validate.score_every
        return every is not None and step.epoch % every == 0

    def loss(self, model: CaptioningRNN) -> float:
        """Compute the mean word loss in nats."""
        return self.loss_of(self._split, model, self._config.validate.max_captions)

    def loss_of(self, split: Split, model: CaptioningRNN, max_captions: int | None = None) -> float:
        """Compute the mean word loss of a split in nats."""
        batches = sequential_batches(split, self._config.train.batch_size, max_captions, self._ranks)
        return mean_word_loss(model, batches, self._pool, self._ranks.all_reduce)

    def scores(self, loaded: LoadedModel) -> dict[str, float]:
        """Score the captions that a model generates, by name of the metric."""
        split, own = self._split, self._ranks.partition(np.arange(self._split.features.shape[0]))
        found = Captioner(loaded, self._reranker).decode(split.features, regions=split.regions, rows=own)
        captions = self._ranks.all_gather_partitions([one.candidates[0].text for one in found])
        return self._ranks.on_rank_0(lambda: self._scored(captions))

    def _scored(self, captions: Sequence[str]) -> dict[str, float]:
        evaluation_set, rows = self._evaluation_set
        scored = score_captions(evaluation_set, "model", [captions[row] for row in rows]).scores
        return {name: scored[name] for name in NAMES}

    @cached_property
    def index(self) -> Index:
        """The re-ranking index of the training split."""
        return build_index(self._corpus)

    @cached_property
    def _reranker(self) -> Reranker | None:
        return self.index.reranker() if self._config.decode.consensus else None

    @cached_property
    def _evaluation_set(self) -> tuple[EvaluationSet, Array]:
        evaluation_set, rows = build_evaluation_set(self._corpus, self._config.validate.split)
        return dataclasses.replace(evaluation_set, train_captions=None), rows

    def collapse(self, model: CaptioningRNN, step: Step) -> Iterator[Collapse]:
        """Yield the kinds of caption collapse, from epoch `FIRST_EPOCH` and the end of the warm-up on."""
        if step.epoch >= FIRST_EPOCH and step.step > self._config.train.warmup_steps:
            yield from find_collapse(model, self._split, self._corpus.vocab, self._config)


def is_better(name: str, scored: Mapping[str, float], best: Mapping[str, float] | None) -> bool:
    """Return whether the metric `name` was measured and is better than in `best`."""
    if name not in scored or best is None:
        return name in scored
    return scored[name] < best[name] if name in LOWER_IS_BETTER else scored[name] > best[name]
