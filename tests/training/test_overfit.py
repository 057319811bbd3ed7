"""Overfitting: every decoder and data source reaches a loss below 0.1 on a few captions; a wrong model does not."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_options import fitting
from small_runs import summary

from captioner.arrays import Batch
from captioner.captioning.load import open_corpus, open_run
from captioner.config.options import Config
from captioner.config.overrides import override, read_overrides
from captioner.config.yaml_io import parse
from captioner.files import checkpoint
from captioner.layers import CELLS
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.training.overfit import GOAL, overfit, overfit_config
from captioner.training.resume import resume
from captioner.training.solver import Step
from captioner.training.train import Ended, Event, Started, Validated, Warned

SMALL = ("model.hidden_dim=24", "train.learning_rate=0.02", "data.scenes.train=12")
DECODER = {
    **{cell: (f"model.decoder={cell}", "model.wordvec_dim=12") for cell in CELLS},
    "transformer": ("model.decoder=transformer", "model.layers=1", "model.heads=2", "model.feed_forward_dim=32",
                    "train.learning_rate=0.005"),
}  # fmt: skip
SCENES = ("data.scenes.val=1", "data.scenes.test=1", "data.scenes.heldout=1")


def config(count: int, *overrides: str) -> Config:
    values = fitting(*overrides, small=[*SMALL, *SCENES])
    return overfit_config(override(Config(), values), count, values)


def outcome_of(events: list[Event]) -> dict[str, object]:
    assert isinstance(events[-1], Ended)
    return events[-1].summary["overfit"]


@pytest.mark.parametrize(
    ("source", "decoder"), [("scenes", "rnn"), ("cs231n", "lstm"), ("prepared", "gru"), ("scenes", "transformer")]
)
def test_every_source_and_decoder_can_overfit(
    source: str, decoder: str, new_run: Path, request: pytest.FixtureRequest, write_coco: Callable[..., Path]
) -> None:
    data = [f"data.source={source}"]
    if source == "prepared":
        data += [f"data.root={request.getfixturevalue('photo_run').parent / 'data.h5'}"]
    elif source == "cs231n":
        data += [f"data.root={write_coco(new_run.parent / 'coco')}"]
    events = list(overfit(config(4, *data, *DECODER[decoder], "train.batch_size=3"), new_run))
    outcome = outcome_of(events)
    assert outcome["captions"] == 4
    assert outcome["passed"] is True
    assert outcome["loss"] < GOAL
    assert summary(new_run)["overfit"] == outcome


@pytest.mark.slow
def test_the_loss_is_that_of_the_saved_model_per_caption(new_run: Path) -> None:
    events = list(overfit(config(5), new_run))
    restored = open_run(new_run / "last.h5")
    train = open_corpus(restored).split("train")
    loss, _ = restored.model.loss(Batch(train.features[train.image_idxs], train.captions))
    assert outcome_of(events)["loss"] == pytest.approx(loss, rel=1e-3)
    (validated,) = (event for event in events if isinstance(event, Validated))
    words = np.count_nonzero(train.captions[:, 1:] != restored.vocab.null)
    assert validated.loss * words / 5 == pytest.approx(loss, rel=1e-3)
    assert sorted(file.name for file in new_run.iterdir()) == ["config.yaml", "history.jsonl", "last.h5"]


def test_the_captions_are_of_different_images(new_run: Path) -> None:
    started = next(overfit(config(8), new_run))
    assert isinstance(started, Started)
    images = started.corpus.split("train").image_idxs
    assert len(images) == len(set(images.tolist())) == 8


@pytest.mark.slow
def test_training_ends_at_the_goal_or_at_the_maximum_of_steps(new_run: Path, tmp_path: Path) -> None:
    steps = [event.step for event in overfit(config(3), new_run) if isinstance(event, Step)]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) < 1000
    events = list(overfit(config(3, "train.max_steps=7"), tmp_path / "short"))
    assert sum(isinstance(event, Step) for event in events) == 7
    assert outcome_of(events)["passed"] is False
    assert checkpoint.load(tmp_path / "short" / "last.h5").meta.step == 7


def test_a_wrong_gradient_is_detected(new_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backward = CaptioningRNN.backward

    def wrong(self: CaptioningRNN, *args: object) -> dict[str, np.ndarray]:
        grads = backward(self, *args)  # type: ignore[arg-type]
        return {**grads, "W_vocab": -grads["W_vocab"]}

    monkeypatch.setattr(CaptioningRNN, "backward", wrong)
    outcome = outcome_of(list(overfit(config(4, "train.max_steps=60", "train.learning_rate=0.001"), new_run)))
    assert outcome["passed"] is False


def test_a_stopped_run_can_be_resumed(new_run: Path) -> None:
    calls: list[int] = []
    (*_, stopped) = overfit(config(3, "train.max_steps=7"), new_run, stop=lambda: calls.append(1) or len(calls) == 4)
    (*_, ended) = resume(new_run, {"train.max_steps": 9})
    assert isinstance(stopped, Ended)
    assert isinstance(ended, Ended)
    assert (stopped.summary["ended"], stopped.summary["step"], ended.summary["step"]) == ("stopped", 4, 9)


@pytest.mark.slow
def test_the_settings_switch_off_what_a_config_regularizes(new_run: Path) -> None:
    text = (
        "model: {dropout_hidden: 0.5}\n"
        "train: {objective: self_critical, init_from: everyday, ema_decay: 0.9, patience: 1, schedule: exponential, "
        "lr_decay: 0.5, warmup_steps: 9, update_rule: adamw, weight_decay: 0.1}\n"
        "validate: {score_every: 1, best_metric: cider_d}\n"
        "decode: {beam_width: 3, similarity_weight: 6, guidance_weight: 1}\n"
    )
    parsed = parse(text, "file", read_overrides([*SMALL, *SCENES]))
    regularized = overfit_config(
        dataclasses.replace(parsed, train=dataclasses.replace(parsed.train, init_from=None)), 3
    )
    assert regularized.train.update_rule == "adamw"
    events = list(overfit(regularized, new_run))
    assert outcome_of(events)["passed"] is True
    assert [event.problem for event in events if isinstance(event, Warned)][-1] == (
        "--overfit: ignored: model.dropout_hidden, train.objective, train.ema_decay, train.weight_decay, "
        "train.schedule, train.lr_decay, train.warmup_steps, train.patience, "
        "validate.score_every, validate.best_metric, decode.guidance_weight, decode.similarity_weight"
    )


def test_the_model_is_the_one_that_training_starts_from(new_run: Path, tiny_run: Path) -> None:
    """Not one of the default sizes."""
    base = open_run(tiny_run)
    values = {"train.init_from": tiny_run, "train.max_steps": 1}
    given = overfit_config(override(Config(), values), 3, values)
    list(overfit(dataclasses.replace(given, data=base.config.data), new_run))
    assert open_run(new_run / "last.h5").model.sizes == base.model.sizes
