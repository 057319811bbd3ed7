"""Scores of a data set from several sources: each source as an evaluation set of its own, and the mean of all."""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.captioning.captioner import Captioner
from captioner.captioning.load import open_corpus, open_run
from captioner.data.corpus import Corpus
from captioner.data.prepared import write_prepared
from captioner.evaluation.evaluate import score_model
from captioner.evaluation.scoring import (
    EvaluationSet,
    ScoredCaptions,
    build_evaluation_set,
    intervals,
    score_captions,
    to_dict,
)
from captioner.metrics import NAMES
from captioner.report.page import score_table
from captioner.training.run_folder import records

FIRST = 4
"""Images of the first source in each split."""


def two_sources(corpus: Corpus) -> Corpus:
    splits = {}
    for name, split in corpus.splits.items():
        images = len(split.image_ids)
        splits[name] = dataclasses.replace(split, sources=["one"] * FIRST + ["two"] * (images - FIRST))
    return dataclasses.replace(corpus, splits=splits)


def only(corpus: Corpus, source: str) -> Corpus:
    """Return the data set with the captions of one source in val."""
    val = dataclasses.replace(corpus.split("val").by_source[source], sources=None)
    return dataclasses.replace(corpus, splits={**corpus.splits, "val": val})


def scored(run: Path, corpus: Corpus) -> ScoredCaptions:
    return score_model(Captioner(open_run(run)), corpus, "val", *build_evaluation_set(corpus, "val"))


@pytest.fixture(scope="module")
def corpus(tiny_run: Path) -> Corpus:
    return two_sources(open_corpus(open_run(tiny_run)))


@pytest.fixture(scope="module")
def whole(tiny_run: Path, corpus: Corpus) -> ScoredCaptions:
    return scored(tiny_run, corpus)


def test_each_source_is_scored_alone_and_all_are_their_mean(
    tiny_run: Path, corpus: Corpus, whole: ScoredCaptions
) -> None:
    assert list(whole.sources) == ["one", "two"]
    for source, part in whole.sources.items():
        alone = scored(tiny_run, only(corpus, source))
        keys = [*NAMES, "loss", "perplexity", "distinct", "unk", "novel"]
        assert {key: part.scores[key] for key in keys} == pytest.approx({key: alone.scores[key] for key in keys})
        assert intervals(part) == intervals(alone)
    for key in (*NAMES, "loss"):
        assert whole.scores[key] == pytest.approx(np.mean([part.scores[key] for part in whole.sources.values()]))
    assert whole.scores["perplexity"] == pytest.approx(np.exp(whole.scores["loss"]))
    pooled = scored(tiny_run, dataclasses.replace(corpus, splits=open_corpus(open_run(tiny_run)).splits))
    assert pooled.captions == whole.captions
    assert pooled.sources == {}
    assert (pooled.scores["cider_d"], pooled.scores["loss"]) != (whole.scores["cider_d"], whole.scores["loss"])


def test_the_interval_of_the_mean_resamples_within_the_sources() -> None:
    """The scores of a source whose captions are all alike do not vary: half the interval of the other one is left."""
    sources = ["one"] * 9 + ["two"] * 16
    evaluation_set = EvaluationSet([*map(str, range(25))], [["a dog"]] * 25, sources=sources)
    good = score_captions(evaluation_set, "good", ["a dog"] * 9 + ["a dog", "a cow"] * 8)
    bad = score_captions(evaluation_set, "bad", ["a cow"] * 25)
    (lower, upper), (low, high) = intervals(good)["bleu1"], intervals(good.sources["two"])["bleu1"]
    assert upper - lower == pytest.approx((high - low) / 2, rel=0.3)
    assert lower == pytest.approx((1 + low) / 2, rel=0.05)
    record = to_dict(good, [bad])
    assert record["sources"]["one"]["others"]["bad"]["difference"]["bleu1"] == pytest.approx([0.5, 0.5])
    assert record["warnings"] == [
        f"{what} images; confidence intervals from fewer than 30 images are unreliable"
        for what in ("25", "one: 9", "two: 16")
    ]


@pytest.fixture
def prepared_run(corpus: Corpus, tmp_path: Path, cli: Callable[..., Any], small_options: tuple[str, ...]) -> Path:
    write_prepared(tmp_path / "both.h5", corpus, {})
    options = ("-o", "train.epochs=2", "-o", "validate.score_every=1", "-o", "validate.best_metric=cider_d")
    small = [option for option in small_options if "data.scenes" not in option]
    done = cli("train", "--data", tmp_path / "both.h5", "--run", tmp_path / "run", *small, *options)
    assert re.search(r"CIDEr-D [\d.]+ \(one [\d.]+, two [\d.]+\)", done.err)
    assert done.code == 0
    return tmp_path / "run"


def test_history_evaluate_report_and_card_show_the_sources(prepared_run: Path, cli: Callable[..., Any]) -> None:
    last = [record for record in records(prepared_run / "history.jsonl") if record["kind"] == "validation"]
    assert open_run(prepared_run).meta.best["cider_d"] == max(record["scores"]["cider_d"] for record in last)
    printed = cli("evaluate", prepared_run / "last.h5").out
    for title in ("val: 10 images, mean of 2 sources, perplexity", "val, one: 4 images", "val, two: 6 images"):
        assert f"\n{title}" in f"\n{printed}"
    record = json.loads(cli("evaluate", prepared_run / "last.h5", "--json").out)
    for source in ("one", "two"):
        logged, measured = last[-1]["sources"][source], record["sources"][source]
        assert logged.keys() == {"loss", *NAMES}
        assert logged == pytest.approx({key: measured[key] for key in logged}, rel=1e-5)
    assert last[-1]["loss"] == pytest.approx(record["loss"], rel=1e-5)
    assert score_table(record, "run").head == [
        "", "run, mean of 2 sources", "run, one", "run, two"
    ]  # fmt: skip
    assert f"CIDEr-D {100 * record['cider_d']:.1f}" in cli("card", prepared_run / "last.h5").out


@pytest.mark.parametrize("limit", [None, 7])
def test_the_validation_loss_is_measured_for_each_source(corpus: Corpus, tiny_run: Path, limit: int | None) -> None:
    from captioner.parallel.thread_pool import SERIAL
    from captioner.training.validation import Validation

    restored = open_run(tiny_run)
    config = dataclasses.replace(
        restored.config, validate=dataclasses.replace(restored.config.validate, max_captions=limit)
    )
    validation = Validation(config, corpus, SERIAL)
    losses = validation.losses(restored.model)
    assert losses == {
        source: validation.loss_of(part, restored.model, limit and limit // 2)
        for source, part in corpus.split("val").by_source.items()
    }
    assert list(losses) == ["one", "two"]


def test_a_source_of_one_image_is_not_scored_alone() -> None:
    """Its CIDEr-D would be 0, since every word occurs in all of its images."""
    images = EvaluationSet([*"abc"], [["a red dog"], ["a red cat"], ["a blue dog"]], sources=["one", "one", "two"])
    assert score_captions(images, "model", ["a red dog"] * 3).sources == {}
