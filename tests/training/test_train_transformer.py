"""A transformer is trained, resumed and decoded by the same commands as a recurrent model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import TrainRun, assert_same_arrays, history

import captioner
from captioner.captioning.load import open_corpus, open_run
from captioner.data.vocabulary import SPECIAL
from captioner.errors import ConfigError
from captioner.training.resume import resume

TRANSFORMER = (
    "model.decoder=transformer", "model.attention=adaptive", "model.layers=2", "model.heads=2",
    "model.feed_forward_dim=32", "model.dropout_layers=0.2", "model.dropout_regions=0.1", "data.standardize=true",
    "train.update_rule=adamw", "train.warmup_steps=3", "train.ema_decay=0.9", "train.captions_per_image=5",
    "train.learning_rate=0.01", "decode.max_length=8",
)  # fmt: skip


@pytest.fixture(scope="session")
def transformer(train_run: TrainRun) -> TrainRun:
    """Trains a small transformer in a new folder, and returns the folder."""
    return lambda *overrides: train_run(*TRANSFORMER, *overrides)


@pytest.fixture(scope="session")
def trained(transformer: TrainRun) -> Path:
    return transformer("train.max_steps=8")


def test_a_resumed_run_equals_an_uninterrupted_one(transformer: TrainRun, trained: Path) -> None:
    half = transformer("train.max_steps=3")
    list(resume(half, {"train.max_steps": 8}))
    assert_same_arrays(half, trained)


def test_self_critical_training_continues_from_it(transformer: TrainRun, trained: Path) -> None:
    options = ("train.objective=self_critical", "train.captions_per_image=1", f"train.init_from={trained}")
    whole, half = transformer(*options, "train.max_steps=2"), transformer(*options, "train.max_steps=1")
    list(resume(half, {"train.max_steps": 2}))
    assert_same_arrays(half, whole)


def test_initialization_with_other_heads_is_rejected_and_with_another_vocabulary_is_not(
    transformer: TrainRun, trained: Path
) -> None:
    with pytest.raises(ConfigError, match=r"model\.heads: expected 2 as in .*, got 4; try -o model\.heads=2"):
        transformer(f"train.init_from={trained}", "model.heads=4", "train.max_steps=1")
    run = transformer(f"train.init_from={trained}", "data.max_train=40", "train.max_steps=1")
    (record,) = history(run, "init_from")
    assert 0 < record["shared_words"] <= len(open_run(trained).vocab) - len(SPECIAL)


def test_the_api_captions_with_maps_beams_samples_and_mixed_ensembles(trained: Path, attention_run: Path) -> None:
    data = captioner.load(trained)
    split = open_corpus(open_run(trained)).split("val")
    for overrides in ({}, {"decode.beam_width": 3, "decode.no_repeat_ngram": 2}, {"decode.method": "sampling"}):
        for runs in (trained, [trained, attention_run]):
            model = captioner.load(runs, overrides)
            captions = model.caption(features=split.features[:4], regions=split.regions[:4], attention=True)
            for caption in captions:
                np.testing.assert_allclose(caption.attention.weights.sum(axis=1), 1, atol=1e-5)
                assert caption.attention.maps.shape[1:] == (3, 3)
    assert "transformer" in repr(data)


def test_commands(trained: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    done = cli("evaluate", trained, "--split", "val")
    assert done.code == 0, done.err
    assert "pointing accuracy" in done.out
    done = cli("inspect", "gradients", trained, "--word", 5)
    assert done.code == 0, done.err
    title, *bars, _ = done.out.splitlines()
    assert title.startswith(f"{trained}: transformer, loss of word 5, ")
    assert title.endswith("gradients of words")
    assert len(bars) == 5
    record = json.loads(cli("inspect", "gradients", trained, "--word", 5, "--json").out)
    assert record["norms"] is None
    assert len(record["inputs"]) == 5
    done = cli("report", trained, "--output", tmp_path / "report.html")
    assert done.code == 0, done.err
    page = (tmp_path / "report.html").read_text()
    assert "transformer, 2 layers of width 16 with 2 heads" in page
    done = cli("export", trained, "--output", tmp_path / "small.h5")
    assert done.code == 0, done.err


@pytest.mark.slow
def test_a_checkpoint_has_the_arrays_of_the_most_layers(transformer: TrainRun) -> None:
    run = transformer("model.layers=24", "model.feed_forward_dim=2", "model.hidden_dim=4", "train.max_steps=1")
    assert len(open_run(run).saved.params) > 400
