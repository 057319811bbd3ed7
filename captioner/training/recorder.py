"""Write history, checkpoints and the best validation of a run to its folder."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from captioner.arrays import Params
from captioner.config.options import Config
from captioner.config.yaml_io import dump
from captioner.data.corpus import Corpus
from captioner.errors import CheckpointError
from captioner.files import checkpoint
from captioner.inference.familiarity import summarize
from captioner.inference.reranker_index import Index, is_current
from captioner.inference.reranker_index import save as save_index
from captioner.inference.restore import Restored
from captioner.model.captioning_model import CaptioningModel
from captioner.model.image_input import standardizer_arrays
from captioner.optim.update_rules import EMA
from captioner.parallel.environment import environment
from captioner.parallel.ranks import Ranks
from captioner.training.events import Validated
from captioner.training.run_folder import AT_END, RunFolder
from captioner.training.solver import Step, TrainState
from captioner.training.validation import is_better


@dataclasses.dataclass
class Recorder:
    """The validation state of a run, and the writer of its history and checkpoints.

    `learned` is the digest of the captions that the run is trained on.

    `best` and `since_best` refer to scheduled validations. An extra validation at the end of the run may set
    `best_at_end` and best.h5, but a resumed run discards both, so that it equals a run that never ended there.
    """

    config: Config
    run: RunFolder
    corpus: Corpus
    fingerprint: str
    probe: list[float]
    learned: str
    model: CaptioningModel
    state: TrainState
    best: dict[str, float] | None = None
    since_best: int = 0
    best_at_end: dict[str, float] | None = None
    card: checkpoint.Card = dataclasses.field(default_factory=checkpoint.Card)

    def __post_init__(self) -> None:
        self.train_fingerprint = self.corpus.fingerprint(["train"])
        self.saved = self.state.step or None
        ema = self.state.slots.get(EMA)
        self.eval_model = self.model if ema is None else self.model.with_params(ema)

    def log(self, kind: str, record: dict[str, Any], at_end: bool) -> None:
        """Append a record to the history; `at_end` marks one that exists only because the run ends with this step."""
        self.run.log({"kind": kind, **record, **({AT_END: True} if at_end else {})})

    def record_validation(self, step: Step, loss: float, scores: dict[str, float], at_end: bool) -> Validated:
        """Record a validation, and save best.h5 if it is the best."""
        name, scored = self.config.validate.best_metric, {"loss": loss, **scores}
        better = is_better(name, scored, self.best)
        if name in scored and not at_end:
            self.since_best = 0 if better else self.since_best + 1
        event = Validated(step.step, step.epoch, loss, scores, better)
        # before the checkpoint: a run may be resumed from it
        self.log("validation", {**event._asdict(), "perplexity": event.perplexity}, at_end)
        if better:
            self._save_best({"step": step.step, "epoch": step.epoch, "loss": loss, name: scored[name]}, at_end)
        return event

    def _save_best(self, best: dict[str, float], at_end: bool) -> None:
        if at_end:
            self.run.keep_best()
            self.best_at_end = best
        else:
            self.best = best
        self._save(self.run.best, dataclasses.replace(self._meta(), best=best, since_best=0))
        self.run.discard_previous()

    def save(self) -> None:
        """Write last.h5."""
        self._save(self.run.last, self._meta())
        self.saved = self.state.step

    def save_reranker(self, index: Callable[[], Index]) -> None:
        """Write the re-ranking index, which is the same for every step, unless the file is current."""

        def save() -> None:
            if not is_current(self.run.reranker, self.corpus):
                with self.run.writing(self.run.reranker) as check:
                    check()
                    save_index(self.run.reranker, index())

        self.run.ranks.on_rank_0(save)

    def load_best_at_end(self) -> None:
        """Read the best validation of a finished run from best.h5, if the file is readable."""
        best = self.run.ranks.on_rank_0(self._read_best)
        self.best_at_end = None if best is None else best.best

    def forget_later_best(self) -> None:
        """Forget the best checkpoint if it is later than the last one, after a kill between the two.

        With other options, training may not reach it again.
        """
        best = self.run.ranks.on_rank_0(lambda: None if self.run.before_end.exists() else self._read_best())
        if best is not None and best.step > self.state.step:
            self.best, self.since_best = None, 0

    def _read_best(self) -> checkpoint.Meta | None:
        try:
            return checkpoint.load(self.run.best).meta
        except CheckpointError:
            return None

    def restored(self) -> Restored:
        """Return what `restore` would return for a checkpoint saved now."""
        arrays = self.state.params, self.state.slots
        return Restored(self.run.path, self.config, self.corpus.vocab, self.eval_model, self._meta(), *arrays)

    def _meta(self) -> checkpoint.Meta:
        return checkpoint.Meta(
            config=dump(self.config),
            words=list(self.corpus.vocab.words),
            feature_dim=self.corpus.feature_dim,
            encoder=self.corpus.encoder,
            fingerprint=self.fingerprint,
            probe=self.probe,
            step=self.state.step,
            best=self.best,
            since_best=self.since_best,
            environment=environment(self.config.threads, self.run.ranks.size),
            train_fingerprint=self.train_fingerprint,
            region_dim=self.model.sizes.region if self.model.sizes.attends else 0,
            grid=list(self.corpus.grid) if self.model.sizes.attends else [],
            content=self.corpus.content,
            learned=self.learned,
            card=self.card,
        )

    def _save(self, path: Path, meta: checkpoint.Meta) -> None:
        synchronize(self.state, self.run.ranks)  # all ranks continue like ranks that resume
        standardizers = standardizer_arrays(self.model.standardizer, self.model.region_standardizer)
        arrays = self.state.params, self.state.slots, standardizers, self.familiarity
        self.run.save(path, checkpoint.Checkpoint(meta, *arrays))

    @cached_property
    def familiarity(self) -> Params:
        """The summary of the training images, the same for every step."""
        return self.run.ranks.on_rank_0(lambda: summarize(self.corpus.split("train").features))


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
