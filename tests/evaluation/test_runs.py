"""Runs and their data set are opened for a comparison; runs with other features are rejected."""

import dataclasses
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.errors import CheckpointError, DataError, UsageError
from captioner.evaluation.runs import open_captioners, short_names
from captioner.inference.load import load, open_corpus, open_run
from captioner.model.ensemble import Ensemble
from captioner.storage import checkpoint


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["runs/a/best.h5"], ["a"]),
        (["runs/a/last.h5"], ["a/last.h5"]),
        (["runs/a/best.h5", "runs/b/best.h5", "model.h5"], ["a", "b", "model.h5"]),
        (["runs/a/best.h5", "runs/a/last.h5"], ["a", "a/last.h5"]),
        (["one/run/best.h5", "two/run/best.h5"], ["one/run", "two/run"]),
        (["a/best.h5", "a/best.h5"], ["a", "a"]),
    ],
)
def test_names_are_the_shortest_that_differ(paths: list[str], expected: list[str]) -> None:
    assert short_names(list(map(Path, paths))) == expected


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(["a", "b", "best.h5", "last.h5"]), min_size=1, max_size=4), min_size=1))
def test_different_checkpoints_have_different_names(paths: list[list[str]]) -> None:
    folders = [Path(*parts, "best.h5") for parts in paths]
    names = dict(zip(folders, short_names(folders), strict=True))
    assert len(set(names.values())) == len(names)
    assert all(os.path.abspath(folder.parent).endswith(name) for folder, name in names.items())


def test_an_ensemble_is_one_captioner(tiny_run: Path) -> None:
    runs = [tiny_run, tiny_run / "last.h5"]
    captioners, _ = open_captioners(runs, (), ensemble=True, data=None)
    ((name, captioner),) = captioners
    assert name == "ensemble of 2"
    assert isinstance(captioner.loaded.model, Ensemble)
    apart, _ = open_captioners(runs, (), ensemble=False, data=None)
    assert [name for name, _ in apart] == ["run", "run/last.h5"]
    (alone,), _ = open_captioners(runs[:1], (), ensemble=True, data=None)
    assert alone.name == "run"


def test_captioners_are_used_as_they_are(tiny_run: Path) -> None:
    greedy, wide = load(tiny_run), load(tiny_run, ["decode.beam_width=3"])
    captioners, corpus = open_captioners([greedy, wide], (), ensemble=False, data=None)
    assert [captioner for _, captioner in captioners] == [greedy, wide]
    assert set(corpus.splits) == {"train", "val", "test", "heldout"}


def test_runs_with_another_vocabulary_are_scored_on_the_data_set_of_the_first(tiny_run: Path, photo_run: Path) -> None:
    assert open_run(photo_run).vocab != open_run(tiny_run).vocab
    captioners, corpus = open_captioners([tiny_run, photo_run], (), ensemble=False, data=None)
    assert [captioner.loaded.vocab == corpus.vocab for _, captioner in captioners] == [True, False]
    _, other = open_captioners([tiny_run], (), ensemble=False, data=photo_run.parent / "data.h5")
    assert other.fingerprint() == open_corpus(open_run(photo_run)).fingerprint()


def test_a_data_set_may_be_a_folder_of_cs231n(coco_run: Path) -> None:
    _, corpus = open_captioners([coco_run], (), ensemble=False, data=coco_run.parent / "data")
    assert corpus.fingerprint() == open_corpus(open_run(coco_run)).fingerprint()


def test_a_run_with_another_encoder_or_feature_width_is_rejected(tiny_run: Path, coco_run: Path, own_run: Path) -> None:
    for runs, data in ([tiny_run, coco_run], None), ([coco_run], "scenes"):
        with pytest.raises(CheckpointError) as caught:
            open_captioners(runs, (), ensemble=False, data=data and Path(data))
        message = str(caught.value)
        assert message.startswith(f"{coco_run}/best.h5: features: expected encoder cs231n:vgg16_fc7_pca, got scenes-")
    saved = checkpoint.load(coco_run / "best.h5")
    encoder = dataclasses.replace(saved.meta, encoder=open_run(tiny_run).meta.encoder)
    shutil.rmtree(own_run)
    own_run.mkdir()
    checkpoint.save(own_run / "best.h5", dataclasses.replace(saved, meta=encoder))
    with pytest.raises(CheckpointError, match=r"^the data set: features: expected 8 numbers per image, got \d+; "):
        open_captioners([tiny_run, own_run], (), ensemble=False, data=None)


def test_a_path_that_is_no_data_set_is_an_error(tiny_run: Path, tmp_path: Path) -> None:
    table = tmp_path / "captions.csv"
    table.write_text("image,caption\n")
    for path in tmp_path, table:
        with pytest.raises(UsageError, match=rf"^{path}: expected a file written by `captioner prepare`"):
            open_captioners([tiny_run], (), ensemble=False, data=path)
    with pytest.raises(DataError, match=r"none\.h5: not found; expected a data set from `captioner prepare`"):
        open_captioners([tiny_run], (), ensemble=False, data=tmp_path / "none.h5")
