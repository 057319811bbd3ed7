"""Prepare, train and sample on real photographs: Flickr8k, if it is available."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FLICKR8K = Path(__file__).parents[2] / "../shared/data/flickr8k"
NUMBERS = {"train": 48, "val": 12}

pytestmark = pytest.mark.skipif(not FLICKR8K.is_dir(), reason="needs Flickr8k in Karpathy's form")


def test_a_data_set_and_its_photographs_get_the_same_captions(cli: Callable[..., Any], tmp_path: Path) -> None:
    """The features of the data set, in float16, are those of the photographs, which `caption` encodes."""
    images = json.loads((FLICKR8K / "dataset_flickr8k.json").read_text())["images"]
    few = [image for split, count in NUMBERS.items() for image in [i for i in images if i["split"] == split][:count]]
    (tmp_path / "few.json").write_text(json.dumps({"images": few}))
    data, run, photos = tmp_path / "few.h5", tmp_path / "run", FLICKR8K / "images"
    source = ("--images", photos, "--min-count", "2")
    done = cli("prepare", tmp_path / "few.json", *source, "--output", data, "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert (summary["splits"]["train"]["images"], summary["splits"]["val"]["captions"]) == (48, 60)
    assert (summary["counts"]["skipped"], summary["duplicates"]["images"]) == (0, 0)

    small = [f"--set=model.{size}_dim=32" for size in ("hidden", "wordvec")]
    options = ("--set=data.standardize=true", "--set=train.learning_rate=0.01", "--set=train.max_steps=60")
    assert cli("train", "--data", data, "--run", run, *small, *options).code == 0
    of_split = [json.loads(line) for line in cli("sample", run, "--split", "val", "--json").out.splitlines()]
    names = [image["filename"] for image in few if image["split"] == "val"]
    lines = cli("caption", *(photos / name for name in names), "--model", run, "--json").out.splitlines()
    for name, expected, caption in zip(names, of_split, map(json.loads, lines), strict=True):
        assert (expected["image"], Path(caption["image"]).name) == (name, name)
        assert caption["caption"] == expected["caption"]
        assert caption["log_prob"] == pytest.approx(expected["log_prob"], abs=0.02)
    assert len({round(caption["log_prob"], 6) for caption in map(json.loads, lines)}) > NUMBERS["val"] // 2
