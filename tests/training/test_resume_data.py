"""A run is resumed only on the data set that it was trained on."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from captioner.config.yaml_io import parse
from captioner.data.corpus import Corpus
from captioner.data.prepared import write_prepared
from captioner.preparation.load_corpus import build_corpus
from captioner.storage import checkpoint


@pytest.fixture
def corpus(small: Sequence[str]) -> Corpus:
    whole = build_corpus(parse("", "", small))
    return dataclasses.replace(whole, splits={name: whole.splits[name] for name in ("train", "val", "test")})


@pytest.fixture
def run(corpus: Corpus, cli: Callable[..., Any], small_options: Sequence[str], tmp_path: Path) -> Path:
    """A run on a prepared data set, which the test may replace."""
    write_prepared(tmp_path / "data.h5", corpus, {})
    more = ("-o", "train.max_steps=2", "--run", tmp_path / "run")
    done = cli("train", *small_options, "--data", tmp_path / "data.h5", *more)
    assert done.code == 0, done.err
    return tmp_path / "run"


def without(corpus: Corpus, name: str) -> Corpus:
    return dataclasses.replace(corpus, splits={key: split for key, split in corpus.splits.items() if key != name})


CHANGED: dict[str, Callable[[Corpus], Corpus]] = {
    "added split": lambda c: dataclasses.replace(c, splits={**c.splits, "more": c.splits["val"]}),
    "removed split": lambda c: without(c, "test"),
    "removed validation split": lambda c: without(c, "val"),
    "reordered splits": lambda c: dataclasses.replace(c, splits=dict(reversed(c.splits.items()))),
    "removed caption": lambda c: dataclasses.replace(
        c,
        splits={
            **c.splits,
            "val": dataclasses.replace(
                c.splits["val"],
                captions=c.splits["val"].captions[:-1],
                image_idxs=c.splits["val"].image_idxs[:-1],
                texts=None,
            ),
        },
    ),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_data_set_is_rejected_and_the_run_stays_unchanged(
    name: str, corpus: Corpus, run: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    write_prepared(tmp_path / "data.h5", CHANGED[name](corpus), {})
    done = cli("train", "--resume", run, "-o", "train.max_steps=4")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"captioner: {run}/last.h5: the captions, images or splits have changed since training began, so the run "
        "cannot be resumed; restore them, or start a new run\n"
    )
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    write_prepared(tmp_path / "data.h5", corpus, {})
    assert cli("train", "--resume", run, "-o", "train.max_steps=4").code == 0


@pytest.mark.parametrize(
    ("probe", "code", "expected"),
    [
        ([], 1, "meta: probe: expected 3 numbers, got 0"),
        ([0.5], 1, "meta: probe: expected 3 numbers, got 1"),
        ([0.5] * 7, 1, "meta: probe: expected 3 numbers, got 7"),
        ([1e308, -1e308, 0.0], 2, "the features have changed since training began"),
    ],
)
def test_an_invalid_or_different_probe_is_rejected(
    probe: list[float], code: int, expected: str, run: Path, cli: Callable[..., Any], recwarn: pytest.WarningsRecorder
) -> None:
    saved = checkpoint.load(run / "last.h5")
    checkpoint.save(run / "last.h5", dataclasses.replace(saved, meta=dataclasses.replace(saved.meta, probe=probe)))
    done = cli("train", "--resume", run, "-o", "train.max_steps=4")
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert done.err.startswith(f"captioner: {run}/last.h5: {expected}")
    assert not recwarn.list
