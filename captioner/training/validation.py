"""What is measured between epochs: how well a model foretells captions, how good its own are, what is odd in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from functools import cached_property

from captioner.arrays import Array
from captioner.config.options import Config
from captioner.data.batches import in_order
from captioner.data.corpus import Corpus
from captioner.decode import Reranker
from captioner.errors import DataError
from captioner.evaluation.scoring import Task, judge, task_of
from captioner.inference.captioner import Captioner
from captioner.inference.decoder import build_decoder
from captioner.inference.reranker_index import Index, build_index
from captioner.inference.restore import Speaker
from captioner.metrics import NAMES
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.perplexity import mean_word_loss
from captioner.parallel.thread_pool import ThreadPool
from captioner.training.caption_collapse import FIRST_EPOCH, collapse_warnings
from captioner.training.solver import Step

LOWER = frozenset({"loss"})
"""Figures that are the better the lower; all others are scores."""


class Validation:
    """The validation split, and when it is time for what.

    Raises: DataError when the data set has no such split, ConfigError for words to suppress that it does not have.
    """

    def __init__(self, config: Config, corpus: Corpus, pool: ThreadPool) -> None:
        name = config.validate.split
        if name not in corpus.splits:
            raise DataError(
                f"validate.split: expected a split of this data set ({', '.join(corpus.splits)}), got "
                f"{name}; try -o validate.split=train, or prepare it with --val 0.1"
            )
        self._config, self._corpus, self._split = config, corpus, corpus.split(name)
        self._team = pool
        if config.validate.score_every is not None:
            build_decoder(config.decode, corpus.vocab)  # what is wrong with its options is told now, not after an epoch

    def is_due(self, step: Step) -> bool:
        """Whether to validate after the last step of an epoch."""
        return step.epoch % self._config.validate.every == 0

    def is_scored(self, step: Step) -> bool:
        """Whether that validation scores captions."""
        every = self._config.validate.score_every
        return every is not None and step.epoch % every == 0

    def loss(self, model: CaptioningRNN) -> float:
        """The mean loss of a word in nats."""
        batches = in_order(self._split, self._config.train.batch_size, self._config.validate.max_captions)
        return mean_word_loss(model, batches, self._team)

    def scores(self, speaker: Speaker) -> dict[str, float]:
        """How good the captions are that it now writes, by the names of the metrics."""
        task, rows = self._task
        captions = [found[0][0] for found in Captioner(speaker, self._reranker).caption(self._split.features)]
        figures = judge(task, "model", [captions[row] for row in rows]).figures
        return {name: figures[name] for name in NAMES}

    @cached_property
    def index(self) -> Index:
        """The re-ranking index of the training split."""
        return build_index(self._corpus)

    @cached_property
    def _reranker(self) -> Reranker | None:
        return self.index.reranker() if self._config.decode.consensus else None

    @cached_property
    def _task(self) -> tuple[Task, Array]:
        task, rows = task_of(self._corpus, self._config.validate.split)
        return dataclasses.replace(task, train_captions=None), rows

    def problems(self, model: CaptioningRNN, step: Step) -> Iterator[str]:
        """What the captions themselves tell, once they should tell anything."""
        if step.epoch >= FIRST_EPOCH:
            yield from collapse_warnings(model, self._split, self._corpus.vocab, self._config.decode.max_length)


def is_better(name: str, found: Mapping[str, float], best: Mapping[str, float] | None) -> bool:
    """Whether `name` is better in what was found than in the best; who has no such figure is not compared."""
    if name not in found or best is None:
        return name in found
    return found[name] < best[name] if name in LOWER else found[name] > best[name]
