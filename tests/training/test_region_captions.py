"""Captions by attention over regions: of photographs, of a split and of features; ensembles and errors."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from region_runs import RegionPhotos

import captioner
from captioner.data.prepared import prepared
from captioner.errors import CheckpointError, DataError, UsageError
from captioner.images.scenes_encoder import ScenesEncoder
from captioner.inference.load import captioner_of, ensemble_of, open_corpus, open_run
from captioner.storage import checkpoint


def test_captions_of_photographs_equal_those_of_the_data_set(
    region_photos: RegionPhotos, region_run: Path, cli: Callable[..., Any]
) -> None:
    stored = captioner_of(open_run(region_run))
    for name, split in open_corpus(stored.loaded).splits.items():
        done = cli("sample", region_run, "--split", name, "--json")
        assert done.code == 0, done.err
        of_split = [json.loads(line) for line in done.out.splitlines()]
        done = cli("sample", region_run, *(region_photos.folder / image for image in split.image_ids), "--json")
        assert done.code == 0, done.err
        for one, other in zip(of_split, map(json.loads, done.out.splitlines()), strict=True):
            assert (region_photos.folder / one["image"], one["caption"]) == (Path(other["image"]), other["caption"])
            assert other["log_prob"] == pytest.approx(one["log_prob"], abs=0.02)  # float16 in the data set


def test_the_regions_of_a_photograph_matter(
    region_photos: RegionPhotos, region_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, encode = region_photos.folder / "000.png", ScenesEncoder.encode_with_regions
    before = captioner.load(region_run).caption(photo)
    assert before.image == str(photo)

    def reversed_regions(self: ScenesEncoder, batch: Any) -> Any:
        features, regions = encode(self, batch)
        return features, 10 * regions

    monkeypatch.setattr(ScenesEncoder, "encode_with_regions", reversed_regions)
    assert captioner.load(region_run).caption(photo).log_prob != before.log_prob


def test_features_are_captioned_with_their_regions(
    region_photos: RegionPhotos, region_run: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    val, loaded = prepared(region_photos.data, regions=True).split("val"), captioner.load(region_run)
    found = loaded.caption(features=val.features, regions=val.regions)
    decoded = loaded.decode(val.features, regions=val.regions)
    assert [one.text for one in found] == [one.candidates[0].text for one in decoded]
    (alone,) = loaded.caption(features=val.features[0], regions=val.regions[0])
    assert alone.text == found[0].text
    with h5py.File(tmp_path / "new.h5", "w") as file:
        file["features"], file["regions"] = val.features, val.regions
    lines = cli("sample", region_run, "--features", tmp_path / "new.h5", "--json").out.splitlines()
    assert [json.loads(line)["caption"] for line in lines] == [one.text for one in found]


def test_features_without_their_regions_are_rejected(
    region_photos: RegionPhotos, region_run: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    val, loaded = prepared(region_photos.data, regions=True).split("val"), captioner.load(region_run)
    with pytest.raises(CheckpointError, match=r"expected features with image regions, got features alone"):
        loaded.caption(features=val.features)
    with pytest.raises(CheckpointError, match=r"regions: expected a grid of 3 x 3, got 9 x 1; use the encoder"):
        loaded.caption(features=val.features, regions=np.reshape(val.regions, (2, 9, 1, 77)))
    with pytest.raises(DataError, match=r"caption: regions: expected 2 images, one per row of features, got 1"):
        loaded.caption(features=val.features, regions=val.regions[:1])
    with pytest.raises(DataError, match=r"caption: regions: row 0: a number is not finite"):
        loaded.caption(features=val.features, regions=np.full_like(val.regions, np.nan))
    with pytest.raises(UsageError, match=r"caption: regions= needs features="):
        loaded.caption(region_photos.folder / "000.png", regions=val.regions)  # type: ignore[call-overload]
    with h5py.File(tmp_path / "new.h5", "w") as file:
        file["features"] = val.features
    done = cli("sample", region_run, "--features", tmp_path / "new.h5")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "dataset 'regions': dataset not found; this file has 'features'" in done.err


def test_all_splits_and_other_data_sets_are_evaluated(
    region_photos: RegionPhotos, region_run: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    done = cli("evaluate", region_run, "--split", "train", "--split", "val", "--split", "test", "--json")
    assert done.code == 0, done.err
    whole = [json.loads(line) for line in done.out.splitlines()]
    assert [one["split"] for one in whole] == ["train", "val", "test"]
    moved = tmp_path / "moved.h5"
    moved.write_bytes(region_photos.data.read_bytes())
    done = cli("evaluate", region_run, "--data", moved, "--split", "val", "--json", "-o", "data.memory_mib=1")
    assert json.loads(done.out)["bleu4"] == whole[1]["bleu4"]
    assert json.loads(done.out)["perplexity"] == pytest.approx(whole[1]["perplexity"])
    for command in ("evaluate", "sample"):
        done = cli(command, region_run, "--data", region_photos.plain, "--split", "val")
        assert (done.code, done.out) == (1, "")
        assert done.err == (
            f"captioner: {region_photos.plain}: model.attention adaptive: expected image regions, got none; prepare "
            "the data set again with --regions, or use a model without attention\n"
        )


def test_an_ensemble_with_and_without_attention_captions_photographs(
    region_photos: RegionPhotos, train_on_regions: Callable[..., Path], region_run: Path, cli: Callable[..., Any]
) -> None:
    plain = train_on_regions(
        "model.attention=none", "model.attention_dim=256", "model.dropout_regions=0", "train.max_steps=2"
    )
    done = cli("sample", region_run, plain, region_photos.folder / "000.png", "--ensemble")
    assert done.code == 0, done.err
    done = cli("evaluate", region_run, plain, "--ensemble", "--split", "val")
    assert done.code == 0, done.err
    other = train_on_regions("train.max_steps=1")
    saved = checkpoint.load(other / "best.h5")
    meta = dataclasses.replace(saved.meta, grid=[1, 9])
    checkpoint.save(other / "best.h5", dataclasses.replace(saved, meta=meta))
    with pytest.raises(CheckpointError, match=r"regions: expected a grid of 1 x 9, got 3 x 3"):
        ensemble_of([open_run(region_run), open_run(other)])


def test_an_encoder_without_the_regions_of_the_checkpoint_is_rejected(
    region_photos: RegionPhotos, region_run: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for regions, expected in (
        (None, "expected 77 numbers per region, got 0; use an encoder with regions"),
        ((2, 2, 77), "expected a grid of 3 x 3, got 2 x 2; use the encoder of the training images"),
    ):
        monkeypatch.setattr(ScenesEncoder, "regions", regions)
        done = cli("sample", region_run, region_photos.folder / "000.png")
        assert done == (1, "", f"captioner: {region_run / 'best.h5'}: regions: {expected}\n")
