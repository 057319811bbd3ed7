"""Inspection of data sets: summaries of prepared data sets, and issues of raw captions and photographs."""

import dataclasses
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from preparing import feature_file

from captioner.config.options import Prepare
from captioner.config.overrides import Values, read_overrides
from captioner.config.yaml_io import load
from captioner.data.corpus import Corpus
from captioner.data.prepared import prepared, write_prepared
from captioner.errors import DataError, UsageError
from captioner.preparation import inspect_data
from captioner.preparation.inspect_data import check, examples, source_overrides, summarize_corpus
from captioner.preparation.load_corpus import build_corpus

SCENES = Prepare(encoder="scenes", val=0.25, min_count=1)


@pytest.fixture
def photos(photo_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(photo_run.parent / "photos", tmp_path / "photos"))


@pytest.fixture(scope="module")
def data(photo_run: Path) -> Path:
    return photo_run.parent / "data.h5"


@pytest.fixture(scope="module")
def corpus(data: Path) -> Corpus:
    return prepared(data)


# --- which source a name means


def test_the_source_is_detected_from_the_name(data: Path, write_coco: Callable[..., Path], tmp_path: Path) -> None:
    assert source_overrides("scenes") == {"data.source": "scenes"}
    for source in (str(data), str(tmp_path / "absent.h5")):
        assert source_overrides(source) == {"data.source": "prepared", "data.root": Path(source).absolute()}
    folder = str(write_coco(tmp_path / "coco"))
    assert source_overrides(folder) == {"data.source": "cs231n", "data.root": Path(folder)}


@pytest.mark.parametrize("name", ["a b.h5", "a: b.h5", "#.h5", "1.5", "null.h5", "猫.h5", "a=b"])
def test_any_file_name_is_supported(name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(data, name)
    assert build_corpus(load(None, source_overrides(name))).digest == prepared(data).digest


def test_other_files_are_rejected(photos: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["features"] = 1.0
    for path in (photos / "captions.csv", photos / "000.png", tmp_path / "plain.h5", Path("/dev/null")):
        with pytest.raises(UsageError) as caught:
            source_overrides(str(path))
        assert re.match(rf"{path}: expected a file written by `captioner prepare`, a folder", str(caught.value))


# --- check


def test_valid_captions_have_a_summary_and_no_issues(photos: Path, data: Path) -> None:
    issues, summary = check([str(photos / "captions.csv")], [], SCENES)
    assert issues == []
    whole = summarize_corpus(prepared(data))
    assert summary["splits"] == whole["splits"]
    assert summary["counts"] == {name: n for name, n in whole["counts"].items() if name != "unreadable"}


def test_photographs_are_not_required_with_precomputed_features(photos: Path) -> None:
    (photos / "003.png").unlink()
    file = feature_file(photos, np.ones((8, 3), np.float32))
    options = Prepare(encoder="scenes", val=0.25, min_count=1, features=(file,))
    issues, summary = check([str(photos / "captions.csv")], [], options)
    assert (issues, summary["counts"]["missing"]) == ([], 0)


def test_a_data_set_is_checked_as_a_whole(
    data: Path, tmp_path: Path, write_coco: Callable[..., Path], small: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def small_of(overrides: Values) -> Values:
        return read_overrides(small[4 * (overrides["data.source"] != "scenes") :])

    monkeypatch.setattr(inspect_data, "load", lambda file, overrides: load(file, {**overrides, **small_of(overrides)}))
    for source in (str(data), "scenes", str(write_coco(tmp_path / "coco"))):
        issues, summary = check([source], [], Prepare())
        assert issues == []
        config = load(None, {**source_overrides(source), **small_of(source_overrides(source))})
        assert summary == summarize_corpus(build_corpus(config, regions=True))


def test_a_data_set_of_an_unknown_encoder_is_rejected(data: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.h5"
    write_prepared(old, dataclasses.replace(prepared(data), encoder="scenes-1:mirror"), {})
    with pytest.raises(DataError) as caught:
        check([str(old)], [], Prepare())
    assert str(caught.value) == f"{old}: unknown encoder scenes-1:mirror; prepare the data set again"


@pytest.mark.parametrize(
    ("changes", "option"),
    [({"min_count": 3}, "min-count"), ({"image_column": "x", "threads": 9}, "image-column"), ({}, "list")],
)
def test_caption_options_are_rejected_for_prepared_data_sets(changes: dict[str, Any], option: str, data: Path) -> None:
    with pytest.raises(UsageError) as caught:
        check([str(data)], [] if changes else ["val=val.txt"], Prepare(**changes))
    message = f"{data}: --{option} does not apply to a prepared data set; remove the option"
    assert str(caught.value) == message


# --- summary


# --- show


def test_examples_are_in_file_order(corpus: Corpus) -> None:
    train = corpus.split("train")
    shown = examples(corpus, "train", 3, seed=0)
    rows = [train.image_ids.index(example.image) for example in shown]
    assert rows == sorted(set(rows))
    assert len(rows) == 3
    assert [example.references for example in shown] == [train.references(row, corpus.vocab) for row in rows]
    assert examples(corpus, "train", 3, seed=0) == shown
    assert len({tuple(example.image for example in examples(corpus, "train", 3, seed)) for seed in range(9)}) > 1
    assert [example.image for example in examples(corpus, "train", 99, 0)] == train.image_ids
