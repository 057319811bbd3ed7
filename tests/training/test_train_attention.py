"""Runs with attention: training, exact resumption, evaluation, self-critical training, and clear errors."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_arrays import assert_same_arrays

from captioner.config.yaml_io import parse
from captioner.errors import CheckpointError, ConfigError
from captioner.inference.load import captioner_of, ensemble_of, open_corpus, open_run
from captioner.storage import checkpoint
from captioner.training.resume import resume
from captioner.training.train import train

OPTIONS = (
    "model.attention=adaptive",
    "model.attention_dim=8",
    "model.dropout_regions=0.2",
    "model.dropout_keys=0.3",
    "data.standardize=true",
    "train.captions_per_image=5",
    "train.learning_rate=0.01",
    "train.ema_decay=0.9",
    "train.log_every=1",
)


@pytest.fixture(scope="module")
def go(small: Sequence[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Trains a run in a new folder."""

    def run(*options: str) -> Path:
        folder = tmp_path_factory.mktemp("runs") / "run"
        for _ in train(parse("", "", [*small, *options]), folder):
            pass
        return folder

    return run


@pytest.fixture(scope="module")
def trained(go: Callable[..., Path]) -> Path:
    return go(*OPTIONS, "train.max_steps=14")


def test_a_resumed_run_equals_an_uninterrupted_one(go: Callable[..., Path], trained: Path) -> None:
    run = go(*OPTIONS, "train.max_steps=6")
    list(resume(run, ["train.max_steps=14"]))
    assert_same_arrays(run, trained)


def test_a_checkpoint_has_the_parameters_of_attention(trained: Path) -> None:
    saved = checkpoint.load(trained / "best.h5")
    assert (saved.meta.region_dim, saved.meta.grid) == (77, [3, 3])
    assert {name: saved.params[name].shape for name in ("W_key", "W_query", "W_sentinel", "W_context")} == {
        "W_key": (77, 8), "W_query": (16, 8), "W_sentinel": (16, 8), "W_context": (8, 16)
    }  # fmt: skip


def test_regions_are_standardized_over_all_images_and_regions_of_train(trained: Path) -> None:
    loaded = open_run(trained)
    regions = np.asarray(open_corpus(loaded).split("train").regions, float).reshape(-1, 77)
    deviation = regions.std(axis=0)
    mean, std = loaded.model.region_standardizer
    np.testing.assert_allclose(mean, regions.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(std[deviation > 1e-6], deviation[deviation > 1e-6], rtol=1e-6)


def test_a_checkpoint_without_statistics_of_regions_is_rejected(trained: Path, tmp_path: Path) -> None:
    saved = checkpoint.load(trained / "best.h5")
    del saved.standardizer["region_std"]
    checkpoint.save(tmp_path / "best.h5", saved)
    with pytest.raises(CheckpointError, match=r"standardizer/region_std: expected float64 \(77,\), got nothing"):
        open_run(tmp_path / "best.h5")
    meta = dataclasses.replace(saved.meta, region_dim=0)
    checkpoint.save(tmp_path / "best.h5", dataclasses.replace(saved, meta=meta))
    with pytest.raises(CheckpointError, match=r"region_dim: expected at least 1 for model\.attention adaptive, got 0"):
        open_run(tmp_path / "best.h5")


def test_a_split_is_captioned_and_evaluated(cli: Callable[..., Any], trained: Path) -> None:
    found = cli("evaluate", trained, "--split", "heldout", "-o", "decode.beam_width=3")
    assert found.code == 0, found.err
    assert "perplexity" in found.out
    lines = cli("sample", trained, "--split", "val", "-n", 2, "--json").out.splitlines()
    assert len(lines) == 2


def test_self_critical_training_starts_from_a_run_with_attention(go: Callable[..., Path], trained: Path) -> None:
    options = (*OPTIONS, "train.objective=self_critical", f"train.init_from={trained}", "decode.max_length=8")
    run = go(*options, "train.max_steps=4")
    half = go(*options, "train.max_steps=2")
    list(resume(half, ["train.max_steps=4"]))
    assert_same_arrays(half, run)


def test_an_ensemble_of_models_with_and_without_attention(go: Callable[..., Path], trained: Path) -> None:
    attending, plain = open_run(trained), open_run(go("train.max_steps=2"))
    ensemble = ensemble_of([attending, plain])
    corpus = open_corpus(ensemble)
    val = corpus.split("val")
    assert len(list(captioner_of(ensemble, corpus).decode(val.features, regions=val.regions))) == 10
    with pytest.raises(CheckpointError, match=r"expected 77 numbers per region, got 0; name a model with attention"):
        ensemble_of([plain, attending])


@pytest.mark.parametrize("source", ["cs231n", "prepared"])
def test_a_data_set_without_regions_is_rejected(
    source: str, cli: Callable[..., Any], coco_run: Path, photo_run: Path, small_options: Sequence[str], tmp_path: Path
) -> None:
    root = coco_run.parent / "data" if source == "cs231n" else photo_run.parent / "data.h5"
    options = (f"-odata.source={source}", f"-odata.root={root}", "-omodel.attention=adaptive")
    done = cli("train", *small_options, *options, "--run", tmp_path / "run")
    assert (done.code, done.out) == (1, "")
    remedy = {
        "cs231n": "add train2014_regions.h5 and val2014_regions.h5",
        "prepared": "prepare the data set again with --regions",
    }[source]
    assert done.err == (
        f"captioner: {root}: model.attention adaptive: expected image regions, got none; {remedy}, or use a "
        "model without attention\n"
    )
    assert not (tmp_path / "run").exists()


def test_images_of_scenes_are_captioned_with_their_regions(
    cli: Callable[..., Any], trained: Path, photo_run: Path
) -> None:
    done = cli("sample", trained, photo_run.parent / "photos" / "000.png")
    assert done.code == 0, done.err
    assert done.out.startswith(f"{photo_run.parent / 'photos' / '000.png'}\t")


def test_init_from_a_run_without_attention_is_rejected(go: Callable[..., Path], trained: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.attention: expected adaptive as in .*, got none; change it"):
        go("data.standardize=true", f"train.init_from={trained}", "train.max_steps=1")


@pytest.mark.parametrize("override", ["model.attention=none", "model.attention_dim=9", "train.captions_per_image=1"])
def test_options_of_attention_are_fixed_after_training_has_started(override: str, trained: Path) -> None:
    with pytest.raises(ConfigError, match="start a new run to change it"):
        list(resume(trained, [override, "train.max_steps=20"]))


def test_attention_options_need_attention() -> None:
    for option in ("attention_dim=8", "dropout_regions=0.1", "dropout_keys=0.1"):
        with pytest.raises(ConfigError, match=r"has no effect with model\.attention none, only with adaptive"):
            parse("", "", [f"model.{option}"])
