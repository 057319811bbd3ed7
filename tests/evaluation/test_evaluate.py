"""Runs, files and baselines are scored against the same references."""

import json
from pathlib import Path

import pytest

from captioner.errors import DataError, UsageError
from captioner.evaluation.evaluate import check_baseline, evaluate_files, evaluate_split
from captioner.evaluation.runs import open_captioners
from captioner.evaluation.scoring import intervals
from captioner.inference.caption_features import caption_split
from captioner.inference.load import captioner_of, open_run


def test_every_run_writes_its_own_captions(tiny_run: Path, photo_run: Path) -> None:
    captioners, corpus = open_captioners([tiny_run, photo_run], (), ensemble=False, data=None)
    found = evaluate_split(captioners, corpus, "val", baseline="nn")
    for run, scored in zip((tiny_run, photo_run), found.scored, strict=False):
        alone = list(caption_split(captioner_of(open_run(run)), corpus.split("val"), vocab=corpus.vocab))
        assert scored.captions == [caption.text for caption in alone]
        assert found.evaluation_set.references == [caption.references for caption in alone]
    first, second, baseline = found.scored
    assert first.scores["perplexity"] > 1
    assert second.scores["perplexity"] is None
    assert (second.scores["novel"], baseline.scores["novel"]) == (None, 0)
    others = found.record()["others"]
    assert list(others) == [second.name, "nn"]
    assert others["nn"]["difference"] == intervals(first, baseline)
    assert others[second.name]["difference"] == intervals(first, second)
    assert first.scores.keys() == second.scores.keys()


def test_a_run_does_not_differ_from_itself(tiny_run: Path) -> None:
    captioners, corpus = open_captioners([tiny_run, tiny_run], (), ensemble=False, data=None)
    record = evaluate_split(captioners, corpus, "val").record()
    ((name, other),) = record["others"].items()
    assert name == f"{record['name']} (2)"
    assert set(map(tuple, other["difference"].values())) == {(0, 0)}
    assert {key: other[key] for key in other if key != "difference"} == {
        key: record[key] for key in other if key != "difference"
    }


def test_an_invalid_file_is_reported_before_captions_are_generated(tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps([{"image_id": "val-000000", "caption": "a"}]))
    _, corpus = open_captioners([tiny_run], (), ensemble=False, data=None)
    with pytest.raises(DataError, match=r"x\.json: "):
        evaluate_split([], corpus, "val", against=tmp_path / "x.json")


def test_files_are_compared_with_the_first(tmp_path: Path) -> None:
    (tmp_path / "references.csv").write_text("image,caption\na.jpg,a dog runs\nb.jpg,the sea\n")
    (tmp_path / "one.json").write_text('{"image": "x/a.jpg", "caption": "a dog"}\n{"image": "b.jpg", "caption": ""}\n')
    (tmp_path / "two.json").write_text('[{"image_id": "a.jpg", "caption": "a"}, {"image_id": "b.jpg", "caption": ""}]')
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    record = evaluate_files(files, tmp_path / "references.csv", None).record()
    assert (record["split"], record["name"], list(record["others"])) == ("references.csv", "one.json", ["two.json"])
    assert record["bleu1"] > record["others"]["two.json"]["bleu1"]


def test_baselines_are_checked() -> None:
    check_baseline("nn", ["val"])
    check_baseline(None, ["train"])
    with pytest.raises(UsageError, match=r"^baseline nn: uses the captions of train"):
        check_baseline("nn", ["val", "train"])
    with pytest.raises(UsageError, match=r"^baseline knn: expected nn$"):
        check_baseline("knn", ["val"])
