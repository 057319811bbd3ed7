"""Prepare, train and sample on real photographs: Flickr8k, if it is available."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FLICKR8K = Path(__file__).parents[2] / "../shared/data/flickr8k"
NUMBER = 12

pytestmark = pytest.mark.skipif(not FLICKR8K.is_dir(), reason="needs Flickr8k in Karpathy's form")


def test_photographs_and_precomputed_features_get_the_same_captions(cli: Callable[..., Any], tmp_path: Path) -> None:
    """Precomputed features of the data set equal those of the photographs encoded here."""
    data, run, photos = tmp_path / "flickr8k.h5", tmp_path / "run", FLICKR8K / "photos"
    source = ("--features", FLICKR8K / "features.h5", "--encoder", "efficientnet-lite0", "--images", photos)
    done = cli("prepare", FLICKR8K / "dataset_flickr8k.json", *source, "--output", data, "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert (summary["splits"]["train"]["images"], summary["splits"]["val"]["captions"]) == (6000, 5000)
    assert (summary["vocabulary"], summary["counts"]["skipped"], summary["duplicates"]["images"]) == (2534, 0, 0)

    small = [f"--set={option}" for option in ("model.hidden_dim=32", "model.wordvec_dim=32", "train.max_steps=60")]
    options = ("--set=data.standardize=true", "--set=train.learning_rate=0.01", "--set=validate.max_captions=100")
    assert cli("train", "--data", data, "--run", run, *small, *options).code == 0
    of_split = [json.loads(line) for line in cli("sample", run, "--split", "val", "--json").out.splitlines()]
    by_name = {caption["image"]: caption for caption in of_split}
    names = sorted(photo.name for photo in photos.iterdir())[:NUMBER]
    lines = cli("caption", *(photos / name for name in names), "--model", run, "--json").out.splitlines()
    for name, caption in zip(names, map(json.loads, lines), strict=True):
        assert Path(caption["image"]).name == name
        assert caption["caption"] == by_name[name]["caption"]
        assert caption["log_prob"] == pytest.approx(by_name[name]["log_prob"], abs=0.02)
    assert len({round(caption["log_prob"], 6) for caption in map(json.loads, lines)}) > NUMBER // 2
