"""What a training leaves in its run folder: lines of the history, checkpoints, and which validation is the best."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from captioner.config.options import Config
from captioner.config.yaml_io import dump
from captioner.data.corpus import Corpus
from captioner.errors import CheckpointError
from captioner.inference.restore import Restored
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.optim.ema import EMA
from captioner.storage import checkpoint
from captioner.training.environment import environment
from captioner.training.events import Validated
from captioner.training.run_folder import AT_END, RunFolder
from captioner.training.solver import Step, TrainState
from captioner.training.validation import is_better


@dataclasses.dataclass
class Recorder:
    """The state of a training besides its `TrainState`, and what is written of both.

    `best` and `since_best` are of the validations that were due. One that is there only because the run ended may give
    `best_at_end`, and best.h5, but a run that goes on beyond that end forgets it: it must become one that never ended.
    """

    config: Config
    run: RunFolder
    corpus: Corpus
    fingerprint: str
    probe: list[float]
    model: CaptioningRNN
    state: TrainState
    best: dict[str, float] | None = None
    since_best: int = 0
    best_at_end: dict[str, float] | None = None

    def __post_init__(self) -> None:
        self.train_fingerprint = self.corpus.fingerprint(["train"])
        self.saved = self.state.step or None
        mean = self.state.slots.get(EMA)
        self.speaker = self.model if mean is None else self.model.with_params(mean)

    def log(self, kind: str, record: dict[str, Any], at_end: bool) -> None:
        """Append a line to the history; `at_end`: it would not be there if the run did not end with this step."""
        self.run.log({"kind": kind, **record, **({AT_END: True} if at_end else {})})

    def validated(self, step: Step, loss: float, scores: dict[str, float], at_end: bool) -> Validated:
        """Record a validation, and save the best checkpoint if it is one."""
        name, found = self.config.validate.best_metric, {"loss": loss, **scores}
        better = is_better(name, found, self.best)
        if name in found and not at_end:
            self.since_best = 0 if better else self.since_best + 1
        if better:
            self._save_best({"step": step.step, "epoch": step.epoch, "loss": loss, name: found[name]}, at_end)
        event = Validated(step.step, step.epoch, loss, scores, better)
        self.log("validation", {**event._asdict(), "perplexity": event.perplexity}, at_end)
        return event

    def _save_best(self, found: dict[str, float], at_end: bool) -> None:
        if at_end:
            self.run.keep_best()
            self.best_at_end = found
        else:
            self.best = found
        self._save(self.run.best, dataclasses.replace(self._meta(), best=found, since_best=0))
        self.run.found_best()

    def save(self) -> None:
        """Write last.h5."""
        self._save(self.run.last, self._meta())
        self.saved = self.state.step

    def recall_best_at_end(self) -> None:
        """Find again what best.h5 of a finished run was saved for, where that can be read."""
        try:
            self.best_at_end = checkpoint.load(self.run.best).meta.best
        except CheckpointError:
            self.best_at_end = None

    def restored(self) -> Restored:
        """What a checkpoint of this moment would be restored to."""
        state = self.state
        return Restored(
            self.run.path, self.config, self.corpus.vocab, self.speaker, self._meta(), state.params, state.slots
        )

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
            environment=environment(self.config.threads),
            train_fingerprint=self.train_fingerprint,
        )

    def _save(self, path: Path, meta: checkpoint.Meta) -> None:
        standard = self.model.standardizer
        arrays = self.state.params, self.state.slots, standard._asdict() if standard else {}
        self.run.save(path, checkpoint.Checkpoint(meta, *arrays))
