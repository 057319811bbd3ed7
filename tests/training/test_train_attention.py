"""Attention over regions: training, resumption, captions of photographs, splits and features, ensembles, errors."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from small_runs import TrainRun, assert_same_arrays

import captioner
from captioner.captioning.load import ensemble_of, open_corpus, open_run
from captioner.config.options import Prepare
from captioner.data.corpus import Corpus
from captioner.data.prepared import prepared, write_prepared
from captioner.data.scenes import ENCODER
from captioner.errors import CheckpointError, DataError, UsageError
from captioner.files import checkpoint
from captioner.files.hdf5 import StoredArray
from captioner.photos.encoders import ScenesEncoder
from captioner.photos.prepare import prepare
from captioner.training.resume import resume

ATTENTION = (
    "model.attention=adaptive",
    "model.attention_dim=8",
    "model.dropout_regions=0.2",
    "data.standardize=true",
    "train.learning_rate=0.01",
)
OF_SCENES = (*ATTENTION, "model.dropout_keys=0.3", "train.captions_per_image=5", "train.ema_decay=0.9")
OF_PHOTOS = (
    *ATTENTION,
    "data.source=prepared",
    "train.batch_size=5",
    "train.captions_per_image=2",
    "decode.max_length=8",
)


@pytest.fixture(scope="module")
def trained(train_run: TrainRun) -> Path:
    return train_run(*OF_SCENES, "train.max_steps=14")


class RegionPhotos(NamedTuple):
    """A folder of photographs, their data set with regions, and the same without."""

    folder: Path
    data: Path
    plain: Path


@pytest.fixture(scope="module")
def region_photos(album: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> RegionPhotos:
    """Photographs, to be read alone."""
    folder = tmp_path_factory.mktemp("regions")
    source = album(folder / "photos")
    for name, regions in (("data.h5", True), ("plain.h5", False)):
        options = Prepare(encoder="scenes", val=0.25, test=0.25, min_count=1, regions=regions)
        list(prepare([str(source)], folder / name, options))
    return RegionPhotos(folder / "photos", folder / "data.h5", folder / "plain.h5")


@pytest.fixture(scope="module")
def train_on_regions(region_photos: RegionPhotos, train_run: TrainRun) -> TrainRun:
    return lambda *options: train_run(*OF_PHOTOS, f"data.root={region_photos.data}", *options)


@pytest.fixture(scope="module")
def region_run(train_on_regions: TrainRun) -> Path:
    """The folder of a run, to be read alone."""
    return train_on_regions("train.max_steps=6")


def test_a_resumed_run_equals_an_uninterrupted_one(train_run: TrainRun, trained: Path) -> None:
    run = train_run(*OF_SCENES, "train.max_steps=6")
    list(resume(run, {"train.max_steps": 14}))
    assert_same_arrays(run, trained)


def test_a_checkpoint_has_the_parameters_the_grid_and_the_statistics(trained: Path) -> None:
    saved, loaded = checkpoint.load(trained / "best.h5"), open_run(trained)
    assert (saved.meta.region_dim, saved.meta.grid, saved.meta.encoder) == (77, [3, 3], ENCODER)
    assert {name: saved.params[name].shape for name in ("W_key", "W_query", "W_sentinel", "W_context")} == {
        "W_key": (77, 8), "W_query": (16, 8), "W_sentinel": (16, 8), "W_context": (8, 16)
    }  # fmt: skip
    regions = np.asarray(open_corpus(loaded).split("train").regions, float).reshape(-1, 77)
    deviation = regions.std(axis=0)
    mean, std = loaded.model.region_standardizer
    np.testing.assert_allclose(mean, regions.mean(axis=0), atol=1e-9, err_msg="over all images and regions of train")
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


WITHOUT_REGIONS = (
    "captioner: {}: model.attention adaptive: expected image regions, got none; prepare the data set again with "
    "--regions (cs231n: add train2014_regions.h5 and val2014_regions.h5), or use a model without attention\n"
)


def test_a_data_set_without_regions_is_rejected(
    cli: Callable[..., Any], photo_run: Path, small_model: Sequence[str], tmp_path: Path
) -> None:
    root = photo_run.parent / "data.h5"
    done = cli("train", *small_model, "--data", root, "-omodel.attention=adaptive", "--run", tmp_path / "run")
    assert done == (1, "", WITHOUT_REGIONS.format(root))
    assert not (tmp_path / "run").exists()


@pytest.fixture
def by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing fits into the memory: features and regions are read by rows."""
    monkeypatch.setattr("captioner.data.features.MOST_MIB", 0)


@pytest.mark.usefixtures("by_rows")
def test_reading_by_rows_does_not_change_training(
    region_photos: RegionPhotos, train_on_regions: TrainRun, region_run: Path
) -> None:
    assert isinstance(prepared(region_photos.data, regions=True).split("train").regions, StoredArray)
    run = train_on_regions("train.max_steps=6")
    assert_same_arrays(run, region_run)
    half = train_on_regions("train.max_steps=2")
    list(resume(half, {"train.max_steps": 6}))
    assert_same_arrays(half, region_run)


@pytest.mark.usefixtures("by_rows")
def test_self_critical_training_reads_regions_by_rows(train_on_regions: TrainRun, region_run: Path) -> None:
    options = ("train.objective=self_critical", "train.captions_per_image=1", f"train.init_from={region_run}")
    run, half = train_on_regions(*options, "train.max_steps=2"), train_on_regions(*options, "train.max_steps=1")
    list(resume(half, {"train.max_steps": 2}))
    assert_same_arrays(half, run)


def changed(corpus: Corpus, change: Callable[[np.ndarray], np.ndarray], **others: Any) -> Corpus:
    splits = {
        name: dataclasses.replace(split, regions=change(split.regions[:])) for name, split in corpus.splits.items()
    }
    return dataclasses.replace(corpus, splits=splits, **others)


CHANGES: dict[str, tuple[Callable[[Corpus], Corpus], str]] = {
    "other numbers": (lambda c: changed(c, lambda r: 2 * r), "the data set has changed since training began"),
    "another grid": (
        lambda c: changed(c, lambda r: r.reshape(-1, 9, 1, 77)), "regions: expected a grid of 3 x 3, got 9 x 1"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_run_is_not_resumed_on_other_regions(
    name: str, region_photos: RegionPhotos, region_run: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    change, expected = CHANGES[name]
    write_prepared(tmp_path / "data.h5", change(prepared(region_photos.data, regions=True)), {})
    before = (region_run / "last.h5").read_bytes()
    done = cli("train", "--resume", region_run, "-o", f"data.root={tmp_path / 'data.h5'}", "-o", "train.max_steps=9")
    assert done.code in (1, 2)
    assert (done.out, done.err.count("\n")) == ("", 1)
    assert expected in done.err
    assert (region_run / "last.h5").read_bytes() == before


def test_captions_of_photographs_equal_those_of_the_data_set(
    region_photos: RegionPhotos, region_run: Path, cli: Callable[..., Any]
) -> None:
    for name, split in open_corpus(open_run(region_run)).splits.items():
        done = cli("sample", region_run, "--split", name, "--json")
        assert done.code == 0, done.err
        of_split = [json.loads(line) for line in done.out.splitlines()]
        done = cli(
            "caption", *(region_photos.folder / image for image in split.image_ids), "--model", region_run, "--json"
        )
        assert done.code == 0, done.err
        for stored, encoded in zip(of_split, map(json.loads, done.out.splitlines()), strict=True):
            image = str(region_photos.folder / stored["image"])
            assert (image, stored["caption"]) == (encoded["image"], encoded["caption"])
            assert encoded["log_prob"] == pytest.approx(stored["log_prob"], abs=0.02)  # float16 in the data set


def test_features_without_their_regions_are_rejected(region_photos: RegionPhotos, region_run: Path) -> None:
    val, loaded = prepared(region_photos.data, regions=True).split("val"), captioner.load(region_run)
    with pytest.raises(CheckpointError, match=r"regions: expected a grid of 3 x 3, got 9 x 1; use the encoder"):
        loaded.caption(features=val.features, regions=np.reshape(val.regions, (2, 9, 1, 77)))
    with pytest.raises(DataError, match=r"caption: regions: expected 2 images, one per row of features, got 1"):
        loaded.caption(features=val.features, regions=val.regions[:1])
    with pytest.raises(DataError, match=r"caption: regions: row 0: a number is not finite"):
        loaded.caption(features=val.features, regions=np.full_like(val.regions, np.nan))
    with pytest.raises(UsageError, match=r"caption: regions= needs features="):
        loaded.caption(region_photos.folder / "000.png", regions=val.regions)  # type: ignore[call-overload]


def test_an_ensemble_with_and_without_attention_captions_photographs(
    region_photos: RegionPhotos, train_on_regions: TrainRun, region_run: Path, cli: Callable[..., Any]
) -> None:
    plain = train_on_regions(
        "model.attention=none", "model.attention_dim=256", "model.dropout_regions=0", "train.max_steps=2"
    )
    done = cli("caption", region_photos.folder / "000.png", "--model", region_run, "--model", plain, "--ensemble")
    assert done.code == 0, done.err
    done = cli("evaluate", region_run, plain, "--ensemble", "--split", "val")
    assert done.code == 0, done.err
    with pytest.raises(CheckpointError, match=r"expected region dimension 77, got 0; list a model with .*"):
        ensemble_of([open_run(plain), open_run(region_run)])
    other = train_on_regions("train.max_steps=1")
    saved = checkpoint.load(other / "last.h5")
    meta = dataclasses.replace(saved.meta, grid=[1, 9])
    checkpoint.save(other / "last.h5", dataclasses.replace(saved, meta=meta))
    with pytest.raises(CheckpointError, match=r"regions: expected a grid of 1 x 9, got 3 x 3"):
        ensemble_of([open_run(region_run), open_run(other)])


def test_an_encoder_without_the_regions_of_the_checkpoint_is_rejected(
    region_photos: RegionPhotos, region_run: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for regions, expected in (
        (None, "expected region dimension 77, got 0; use an encoder with regions"),
        ((2, 2, 77), "expected a grid of 3 x 3, got 2 x 2; use the encoder of the training images"),
    ):
        monkeypatch.setattr(ScenesEncoder, "regions", regions)
        done = cli("caption", region_photos.folder / "000.png", "--model", region_run)
        assert done == (1, "", f"captioner: {region_run / 'best.h5'}: regions: {expected}\n")
