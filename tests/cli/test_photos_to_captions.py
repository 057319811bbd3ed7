"""From photographs to captions: prepare, train, evaluate and sample, with names of data sets and encoders."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from captioning import best_captions
from PIL import Image, ImageOps
from scene_photos import SCENES

from captioner.data.scenes import example
from captioner.data.scenes.encoder import encode
from captioner.inference.load import open_run

pytestmark = pytest.mark.usefixtures("photos_here")


@pytest.mark.parametrize("recipe", ["scenes", "scenes:mirror+scenes"])
def test_from_photographs_to_captions(
    recipe: str, cli: Callable[..., Any], album: Callable[..., Path], small_options: tuple[str, ...]
) -> None:
    chosen = (*SCENES, "--encoder", recipe, "--threads", "2")
    assert cli("prepare", "photos/captions.csv", "--output", "birds.h5", *chosen).code == 0
    trained = cli("train", "--data", "birds.h5", *small_options, "-o", "train.epochs=3", "-o", "data.standardize=true")
    assert (trained.code, trained.out) == (0, "")
    assert cli("evaluate", "runs/birds", "--split", "val").code == 0
    new = album(Path("new"), 3, first=90).parent
    done = cli("sample", "runs/birds", "new", "--json")
    assert (done.code, done.err) == (0, "")
    captions = [json.loads(line) for line in done.out.splitlines()]
    paths = sorted(new.glob("*.png"))
    assert [one["image"] for one in captions] == [str(path) for path in paths]
    features = encode(np.stack([np.asarray(Image.open(path)) for path in paths]))
    if recipe != "scenes":
        turned = encode(np.stack([np.asarray(ImageOps.mirror(Image.open(path))) for path in paths]))
        features = np.concatenate([(features + turned) / 2, features], axis=1)
    expected = best_captions(open_run("runs/birds"), features)
    assert [one["caption"] for one in captions] == [caption for caption, _ in expected]
    np.testing.assert_allclose([one["log_prob"] for one in captions], [log_prob for _, log_prob in expected], rtol=1e-4)
    of_split = cli("sample", "runs/birds", "--split", "val", "--json").out.splitlines()
    assert all(json.loads(line)["references"] for line in of_split)


@pytest.mark.parametrize("name", ["null", "~", "x "])
def test_a_data_set_may_have_a_name_with_a_meaning_in_a_config(
    name: str, cli: Callable[..., Any], small_options: tuple[str, ...]
) -> None:
    assert cli("prepare", "photos/captions.csv", "--output", name, *SCENES).code == 0
    for command in (("train", "--data", name, *small_options, "-o", "train.max_steps=1"), ("data", "summary", name)):
        done = cli(*command)
        assert done.code == 0, done.err


def test_another_data_set_is_an_error(cli: Callable[..., Any], small_options: tuple[str, ...]) -> None:
    assert cli("prepare", "photos/captions.csv", "--output", "birds.h5", *SCENES).code == 0
    assert cli("train", "--data", "birds.h5", *small_options, "-o", "train.epochs=1").code == 0
    assert (
        cli("prepare", "photos/captions.csv", "--output", "birds.h5", *SCENES, "--overwrite", "--min-count", 9).code
        == 0
    )
    done = cli("sample", "runs/birds", "--split", "val")
    assert (done.code, done.out) == (1, "")
    assert "vocabulary: expected the " in done.err


def test_features_of_a_file_need_an_encoder_name(cli: Callable[..., Any], small_options: tuple[str, ...]) -> None:
    with h5py.File("given.h5", "w") as file:
        file["features"] = encode(np.stack([example(0, "train", index).picture for index in range(8)]))
    nameless = ("--features", "given.h5", "--min-count", "1", "--val", "0.25")
    assert cli("prepare", "photos/captions.csv", "--output", "nameless.h5", *nameless).code == 0
    assert cli("train", "--data", "nameless.h5", *small_options, "-o", "train.epochs=1").code == 0
    done = cli("sample", "runs/nameless", "photos/000.png")
    assert (done.code, done.out) == (2, "")
    assert re.search(r"features:given\.h5,sha256=\w+, which is not a known encoder; try --encoder\n$", done.err)
    named = cli("sample", "runs/nameless", "photos/000.png", "--encoder", "scenes")
    assert (named.code, named.err) == (0, "")
    assert cli("prepare", "photos/captions.csv", "--output", "named.h5", *nameless, "--encoder", "scenes").code == 0
    assert cli("train", "--data", "named.h5", *small_options, "-o", "train.epochs=1").code == 0
    assert cli("sample", "runs/named", "photos/000.png").out == named.out


def test_a_config_sets_the_data_set(cli: Callable[..., Any], small_options: tuple[str, ...]) -> None:
    assert cli("prepare", "photos/captions.csv", "--output", "birds.h5", *SCENES).code == 0
    Path("my.yaml").write_text("data:\n  source: prepared\n  root: birds.h5\n")
    assert cli("train", "-c", "my.yaml", *small_options, "-o", "train.epochs=1").code == 0
    assert cli("sample", "runs/my", "--split", "val").code == 0
    done = cli("train", "-o", "data.source=prepared")
    assert (done.code, done.out) == (2, "")
    assert "data.root: required by data.source prepared" in done.err
    failed = cli("train", "--data", "photos/captions.csv")
    assert (failed.code, failed.err) == (
        1,
        f"captioner: {Path.cwd() / 'photos/captions.csv'}: not a captioner data set; expected a file that "
        "`captioner prepare` wrote\n",
    )
    alone = cli("train", "--resume", "runs/my", "--data", "birds.h5")
    assert (alone.code, alone.out) == (2, "")
