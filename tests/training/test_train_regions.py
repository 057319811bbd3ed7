"""Attention over the regions of photographs: from a prepared file and CS231n's layout to captions of photographs."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
from checkpoint_arrays import assert_same_arrays

import captioner
from captioner.config.options import Prepare
from captioner.config.yaml_io import parse
from captioner.data.corpus import Corpus
from captioner.data.features import ContiguousFeatures
from captioner.data.prepared import prepared, write_prepared
from captioner.data.scenes.encoder import ENCODER
from captioner.errors import CheckpointError, DataError, UsageError
from captioner.images.scenes_encoder import ScenesEncoder
from captioner.inference.ensemble import ensemble_of
from captioner.inference.load import captioner_of, open_corpus, open_run
from captioner.preparation.prepare import prepare
from captioner.storage import checkpoint
from captioner.training.train import resume, train

OPTIONS = (
    "model.attention=adaptive",
    "model.attention_dim=8",
    "model.dropout_regions=0.2",
    "data.standardize=true",
    "data.source=prepared",
    "train.batch_size=5",
    "train.captions_per_image=2",
    "train.learning_rate=0.01",
    "train.log_every=1",
    "decode.max_length=8",
)


class Photos(NamedTuple):
    """A folder of photographs, their data set with regions, and the same without."""

    folder: Path
    data: Path
    plain: Path


@pytest.fixture(scope="module")
def photos(album: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Photos:
    folder = tmp_path_factory.mktemp("regions")
    source = album(folder / "photos")
    for name, regions in (("data.h5", True), ("plain.h5", False)):
        options = Prepare(encoder="scenes", val=0.25, test=0.25, min_count=1, regions=regions)
        list(prepare([str(source)], folder / name, options))
    return Photos(folder / "photos", folder / "data.h5", folder / "plain.h5")


@pytest.fixture(scope="module")
def go(photos: Photos, small: Sequence[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Trains a run on the photographs in a new folder."""

    def run(*options: str) -> Path:
        folder = tmp_path_factory.mktemp("runs") / "run"
        for _ in train(parse("", "", [*small, *OPTIONS, f"data.root={photos.data}", *options]), folder):
            pass
        return folder

    return run


@pytest.fixture(scope="module")
def trained(go: Callable[..., Path]) -> Path:
    return go("train.max_steps=6")


@pytest.fixture
def by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing fits into the memory: features and regions are read by rows."""
    monkeypatch.setattr("captioner.data.features.MOST_MIB", 0)


@pytest.mark.usefixtures("by_rows")
def test_reading_by_rows_does_not_change_training(photos: Photos, go: Callable[..., Path], trained: Path) -> None:
    assert isinstance(prepared(photos.data, regions=True).split("train").regions, ContiguousFeatures)
    run = go("train.max_steps=6")
    assert_same_arrays(run, trained)
    half = go("train.max_steps=2")
    list(resume(half, ["train.max_steps=6"]))
    assert_same_arrays(half, trained)


def test_a_resumed_run_equals_an_uninterrupted_one(go: Callable[..., Path], trained: Path) -> None:
    run = go("train.max_steps=2")
    list(resume(run, ["train.max_steps=6"]))
    assert_same_arrays(run, trained)


def test_a_checkpoint_has_the_grid_and_the_statistics_of_the_regions(photos: Photos, trained: Path) -> None:
    saved = checkpoint.load(trained / "best.h5")
    assert (saved.meta.region_dim, saved.meta.grid, saved.meta.encoder) == (77, [3, 3], ENCODER)
    regions = np.asarray(prepared(photos.data, regions=True).split("train").regions[:], float).reshape(-1, 77)
    np.testing.assert_allclose(saved.standardizer["region_mean"], regions.mean(axis=0), atol=1e-9)


def test_captions_of_photographs_equal_those_of_the_data_set(
    photos: Photos, trained: Path, cli: Callable[..., Any]
) -> None:
    stored = captioner_of(open_run(trained))
    for name, split in open_corpus(stored.loaded).splits.items():
        done = cli("sample", trained, "--split", name, "--json")
        assert done.code == 0, done.err
        of_split = [json.loads(line) for line in done.out.splitlines()]
        done = cli("sample", trained, *(photos.folder / image for image in split.image_ids), "--json")
        assert done.code == 0, done.err
        for one, other in zip(of_split, map(json.loads, done.out.splitlines()), strict=True):
            assert (photos.folder / one["image"], one["caption"]) == (Path(other["image"]), other["caption"])
            assert other["log_prob"] == pytest.approx(one["log_prob"], abs=0.02)  # float16 in the data set


def test_the_regions_of_a_photograph_matter(photos: Photos, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo, encode = photos.folder / "000.png", ScenesEncoder.encode_with_regions
    before = captioner.load(trained).caption(photo)
    assert before.image == str(photo)

    def reversed_regions(self: ScenesEncoder, batch: Any) -> Any:
        features, regions = encode(self, batch)
        return features, 10 * regions

    monkeypatch.setattr(ScenesEncoder, "encode_with_regions", reversed_regions)
    assert captioner.load(trained).caption(photo).log_prob != before.log_prob


def test_features_are_captioned_with_their_regions(
    photos: Photos, trained: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    val, loaded = prepared(photos.data, regions=True).split("val"), captioner.load(trained)
    found = loaded.caption(features=val.features, regions=val.regions)
    decoded = loaded.decode(val.features, regions=val.regions)
    assert [one.text for one in found] == [one.candidates[0].text for one in decoded]
    (alone,) = loaded.caption(features=val.features[0], regions=val.regions[0])
    assert alone.text == found[0].text
    with h5py.File(tmp_path / "new.h5", "w") as file:
        file["features"], file["regions"] = val.features, val.regions
    lines = cli("sample", trained, "--features", tmp_path / "new.h5", "--json").out.splitlines()
    assert [json.loads(line)["caption"] for line in lines] == [one.text for one in found]


def test_features_without_their_regions_are_rejected(
    photos: Photos, trained: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    val, loaded = prepared(photos.data, regions=True).split("val"), captioner.load(trained)
    with pytest.raises(CheckpointError, match=r"expected features with image regions, got features alone"):
        loaded.caption(features=val.features)
    with pytest.raises(CheckpointError, match=r"regions: expected a grid of 3 x 3, got 9 x 1; use the encoder"):
        loaded.caption(features=val.features, regions=np.reshape(val.regions, (2, 9, 1, 77)))
    with pytest.raises(DataError, match=r"caption: regions: expected 2 images, one per row of features, got 1"):
        loaded.caption(features=val.features, regions=val.regions[:1])
    with pytest.raises(DataError, match=r"caption: regions: row 0: a number is not finite"):
        loaded.caption(features=val.features, regions=np.full_like(val.regions, np.nan))
    with pytest.raises(UsageError, match=r"caption: regions= needs features="):
        loaded.caption(photos.folder / "000.png", regions=val.regions)  # type: ignore[call-overload]
    with h5py.File(tmp_path / "new.h5", "w") as file:
        file["features"] = val.features
    done = cli("sample", trained, "--features", tmp_path / "new.h5")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "dataset 'regions': dataset not found; this file has 'features'" in done.err


def test_all_splits_and_other_data_sets_are_evaluated(
    photos: Photos, trained: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    done = cli("evaluate", trained, "--split", "train", "--split", "val", "--split", "test", "--json")
    assert done.code == 0, done.err
    whole = [json.loads(line) for line in done.out.splitlines()]
    assert [one["split"] for one in whole] == ["train", "val", "test"]
    moved = tmp_path / "moved.h5"
    moved.write_bytes(photos.data.read_bytes())
    done = cli("evaluate", trained, "--data", moved, "--split", "val", "--json", "-o", "data.memory_mib=1")
    assert json.loads(done.out)["bleu4"] == whole[1]["bleu4"]
    assert json.loads(done.out)["perplexity"] == pytest.approx(whole[1]["perplexity"])
    for command in ("evaluate", "sample"):
        done = cli(command, trained, "--data", photos.plain, "--split", "val")
        assert (done.code, done.out) == (1, "")
        assert done.err == (
            f"captioner: {photos.plain}: model.attention adaptive: expected image regions, got none; prepare the data "
            "set again with --regions, or use a model without attention\n"
        )


def test_an_ensemble_with_and_without_attention_captions_photographs(
    photos: Photos, go: Callable[..., Path], trained: Path, cli: Callable[..., Any]
) -> None:
    plain = go("model.attention=none", "model.attention_dim=256", "model.dropout_regions=0", "train.max_steps=2")
    done = cli("sample", trained, plain, photos.folder / "000.png", "--ensemble")
    assert done.code == 0, done.err
    done = cli("evaluate", trained, plain, "--ensemble", "--split", "val")
    assert done.code == 0, done.err
    other = go("train.max_steps=1")
    saved = checkpoint.load(other / "best.h5")
    meta = dataclasses.replace(saved.meta, grid=[1, 9])
    checkpoint.save(other / "best.h5", dataclasses.replace(saved, meta=meta))
    with pytest.raises(CheckpointError, match=r"regions: expected a grid of 1 x 9, got 3 x 3"):
        ensemble_of([open_run(trained), open_run(other)])


@pytest.mark.usefixtures("by_rows")
def test_self_critical_training_reads_regions_by_rows(go: Callable[..., Path], trained: Path) -> None:
    options = ("train.objective=self_critical", f"train.init_from={trained}")
    run, half = go(*options, "train.max_steps=2"), go(*options, "train.max_steps=1")
    list(resume(half, ["train.max_steps=2"]))
    assert_same_arrays(half, run)


def changed(corpus: Corpus, change: Callable[[np.ndarray], np.ndarray], **others: Any) -> Corpus:
    splits = {
        name: dataclasses.replace(split, regions=change(split.regions[:])) for name, split in corpus.splits.items()
    }
    return dataclasses.replace(corpus, splits=splits, **others)


CHANGES: dict[str, tuple[Callable[[Corpus], Corpus], str]] = {
    "other numbers": (
        lambda c: changed(c, lambda r: 2 * r), "the features or regions have changed since training began"
    ),
    "another grid": (
        lambda c: changed(c, lambda r: r.reshape(-1, 9, 1, 77)), "regions: expected a grid of 3 x 3, got 9 x 1"
    ),
    "another width": (
        lambda c: changed(c, lambda r: r[..., :9]), "regions: expected 77 numbers per region, got 9; use the encoder"
    ),
    "another encoder": (
        lambda c: changed(c, lambda r: r, encoder="scenes-0"), f"features: expected encoder {ENCODER}, got scenes-0"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_run_is_not_resumed_on_other_regions(
    name: str, photos: Photos, trained: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    change, expected = CHANGES[name]
    write_prepared(tmp_path / "data.h5", change(prepared(photos.data, regions=True)), {})
    before = (trained / "last.h5").read_bytes()
    done = cli("train", "--resume", trained, "-o", f"data.root={tmp_path / 'data.h5'}", "-o", "train.max_steps=9")
    assert done.code in (1, 2)
    assert (done.out, done.err.count("\n")) == ("", 1)
    assert expected in done.err
    assert (trained / "last.h5").read_bytes() == before


def test_a_checkpoint_from_before_grids_is_resumed(go: Callable[..., Path]) -> None:
    run = go("train.max_steps=1")
    saved = checkpoint.load(run / "last.h5")
    meta = dataclasses.replace(saved.meta, grid=[], probe=saved.meta.probe[:3])
    checkpoint.save(run / "last.h5", dataclasses.replace(saved, meta=meta))
    list(resume(run, ["train.max_steps=2"]))
    assert checkpoint.load(run / "last.h5").meta.grid == [3, 3]


def test_an_encoder_without_the_regions_of_the_checkpoint_is_rejected(
    photos: Photos, trained: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for regions, expected in (
        (None, "expected 77 numbers per region, got 0; use an encoder with regions"),
        ((2, 2, 77), "expected a grid of 3 x 3, got 2 x 2; use the encoder of the training images"),
    ):
        monkeypatch.setattr(ScenesEncoder, "regions", regions)
        done = cli("sample", trained, photos.folder / "000.png")
        assert done == (1, "", f"captioner: {trained / 'best.h5'}: regions: {expected}\n")


def test_regions_of_the_layout_of_cs231n_are_attended(
    go: Callable[..., Path], write_coco: Callable[..., Path], cli: Callable[..., Any], tmp_path: Path
) -> None:
    folder = write_coco(tmp_path / "coco")
    for split, images in (("train", 4), ("val", 2)):
        with h5py.File(folder / f"{split}2014_regions.h5", "w") as file:
            file["regions"] = np.random.default_rng(0).standard_normal((images, 2, 3, 5)).astype(np.float16)
    options = ("data.source=cs231n", f"data.root={folder}", "train.max_steps=3")
    run = go(*options)
    assert checkpoint.load(run / "best.h5").meta.grid == [2, 3]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("captioner.data.features.MOST_MIB", 0)
        assert_same_arrays(run, go(*options))
    done = cli("evaluate", run, "--split", "val")
    assert done.code == 0, done.err
