"""A training run in memory, how it is saved, and what bit-identical results depend on: the environment."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

import captioner
from captioner.arrays import Params
from captioner.captioning.saved_model import LoadedModel
from captioner.captioning.training_summary import TrainingSummary, fit_summary, summary_from
from captioner.config.option_table import OPTIONS
from captioner.config.options import Config
from captioner.config.overrides import to_record
from captioner.data.corpus import Corpus, captions_digest
from captioner.files.checkpoint import Card, Checkpoint, Meta
from captioner.model.captioning_model import CaptioningModel
from captioner.model.image_input import standardizer_arrays
from captioner.optim import EMA
from captioner.parallel.machine import describe_blas, oversubscription, set_blas_threads
from captioner.parallel.ranks import Ranks, check_same
from captioner.parallel.thread_pool import ThreadPool
from captioner.training.build import build_plan
from captioner.training.run_folder import AT_END, RunFolder
from captioner.training.solver import Plan, Stopwatch, TrainState
from captioner.training.validation import Validation

LOCAL = ("threads",)
"""Options that may differ between ranks, in addition to paths."""


@dataclass
class Run:
    """One call of `train` or `resume` in memory: what it reads, changes with every step, and saves in its folder.

    The batches are taken from the training split of `learned`, whose captions may be those of `data.captions`; all else
    uses `corpus`. `best` is the best scheduled validation, whose checkpoint is best.h5, and `since_best` the number of
    scheduled validations since that measured `validate.best_metric`. `initialization` is what a new run records about
    `train.init_from`, `base` that model, and `base_summary` its training summary in the vocabulary of this one.

    Raises: UsageError, on all ranks, when they differ in options or data; DataError and ConfigError, as `Validation`.
    """

    config: Config
    folder: RunFolder
    corpus: Corpus
    learned: Corpus
    model: CaptioningModel
    state: TrainState
    _: KW_ONLY
    best: dict[str, float] | None = None
    since_best: int = 0
    warnings: list[str] = field(default_factory=list)
    initialization: dict[str, Any] | None = None
    card: Card = field(default_factory=Card)
    base: LoadedModel | None = None
    base_summary: TrainingSummary | None = None

    def __post_init__(self) -> None:
        self.ranks: Ranks = self.folder.ranks
        self._check_replicas()
        self.warnings += oversubscription(self.config.threads, self.ranks.local_size)
        set_blas_threads(1)
        self.pool, self.watch = ThreadPool(self.config.threads), Stopwatch()
        self.plan: Plan = build_plan(self.config, self.learned.split("train"))
        self.validation = Validation(self.config, self.corpus, self.pool, self.ranks)
        self.first = self.state.step
        self.saved = self.state.step or None
        self.words = 0
        self.warned: set[str] = set()
        self.scores = {self.first: self.card.scores}  # of the last scheduled validation, by its step

    def _check_replicas(self) -> None:
        """Check that all ranks have the same options and data: otherwise they would hang, or train on a mixture."""
        values = {path: attrgetter(path)(self.config) for path, option in OPTIONS.items() if option.kind is not Path}
        shared = {path: value for path, value in values.items() if path not in LOCAL}
        state = {
            "data set": self.corpus.digest,
            "learned captions": self.learned_digest,
            "training step": self.state.step,
            "version": captioner.__version__,
        }
        check_same(self.ranks, {**shared, **state})

    @cached_property
    def eval_model(self) -> CaptioningModel:
        """The model with the exponential moving average of the parameters, if training keeps one."""
        ema = self.state.slots.get(EMA)
        return self.model if ema is None else self.model.with_params(ema)

    @cached_property
    def learned_digest(self) -> str:
        """The digest of the encoded captions that training learns."""
        return captions_digest(self.learned.split("train"))

    @cached_property
    def summary_arrays(self) -> Params:
        """The arrays of the training summary, the same for every step."""
        return self.ranks.on_rank_0(
            lambda: fit_summary(self.corpus.split("train"), self.corpus.vocab, self.base_summary)
        )

    @cached_property
    def summary(self) -> TrainingSummary:
        """The training summary, as a checkpoint stores it."""
        return summary_from(self.summary_arrays, self.corpus.vocab)

    def out_of_patience(self) -> bool:
        patience = self.config.train.patience
        return patience is not None and self.since_best >= patience

    def log(self, kind: str, record: dict[str, Any], at_end: bool) -> None:
        """Append a record to the history; `at_end` marks one that exists only because the run ends with this step."""
        self.folder.log(kind, {**record, **({AT_END: True} if at_end else {})})

    def loaded(self) -> LoadedModel:
        """Return what a checkpoint saved now would be loaded as."""
        parts = self.folder.path, self.config, self.corpus.vocab, self.eval_model, self._meta()
        return LoadedModel(*parts, summary=self.summary)

    def save(self) -> None:
        """Write last.h5, and copy it to best.h5 if its validation is the best."""
        synchronize(self.state, self.ranks)  # all ranks continue like ranks that resume
        standardizers = standardizer_arrays(self.model.standardizer, self.model.region_standardizer)
        arrays = self.state.params, self.state.slots, standardizers, self.summary_arrays
        self.folder.save(Checkpoint(self._meta(), *arrays))
        self.saved = self.state.step
        self.keep_best()

    def keep_best(self) -> None:
        """Copy last.h5 to best.h5 if its validation is the best, also when a kill came between the two."""
        if self.best is not None and self.best["step"] == self.state.step:
            self.folder.keep_best()

    def _meta(self) -> Meta:
        sizes = self.model.sizes
        return Meta(
            config=to_record(self.config),
            words=list(self.corpus.vocab.words),
            feature_dim=self.corpus.feature_dim,
            encoder=self.corpus.encoder,
            data_digest=self.corpus.digest,
            train_digest=self.corpus.train_digest,
            learned=self.learned_digest,
            step=self.state.step,
            best=self.best,
            since_best=self.since_best,
            environment=environment(self.config.threads, self.ranks.size),
            photo_side=self.corpus.photo_side,
            region_dim=sizes.region if sizes.attends else 0,
            grid=list(self.corpus.grid) if sizes.attends else [],
            card=replace(self.card, scores=self.scores.get(self.state.step, {})),
        )


def synchronize(state: TrainState, ranks: Ranks) -> None:
    """Give all ranks the parameters and slots of rank 0, if they differ.

    Called before a checkpoint is saved: a run that is resumed from it starts on all ranks with those of rank 0.
    """
    if ranks.size == 1:
        return
    arrays = [array for part in (state.params, *state.slots.values()) for array in part.values()]
    digest = 0
    for array in arrays:
        digest = zlib.crc32(np.ascontiguousarray(array).data, digest)
    if len(set(ranks.all_gather(digest))) > 1:
        for array, first in zip(arrays, ranks.on_rank_0(lambda: arrays), strict=True):
            array[...] = first


LABELS = {"threads": "threads", "ranks": "ranks", "captioner": "captioner", "numpy": "NumPy", "blas": "BLAS"}


def environment(threads: int, ranks: int = 1) -> dict[str, str]:
    """Return threads, ranks and versions, by the keys of `LABELS`; results are bit-identical if all are equal."""
    values = str(threads), str(ranks), captioner.__version__, np.__version__, str(describe_blas())
    return dict(zip(LABELS, values, strict=True))


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """Yield a warning if they differ."""
    changed = [
        f"{label} {before[key]} to {now[key]}" for key, label in LABELS.items() if before.get(key, now[key]) != now[key]
    ]
    if changed:
        yield (
            f"changed since the checkpoint was saved: {', '.join(changed)}; "
            "training continues, but its results will not be bit-identical to an uninterrupted run"
        )
