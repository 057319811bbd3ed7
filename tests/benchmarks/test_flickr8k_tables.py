"""The benchmarks on Flickr8k: what is trained on which data, and tables of means over seeds."""

import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import few_photos, quality
from benchmarks.flickr8k import SEEDS, Workspace
from benchmarks.results import insert
from benchmarks.session import ROOT

SCORES = dict.fromkeys(quality.SCORES, 0.2) | {"perplexity": 16.0, "distinct": 800, "novel": 0.5}
IMAGES = [
    {"filename": f"{number}.jpg", "split": split}
    for number, split in enumerate(["train"] * 1100 + ["val"] * 20 + ["test"] * 30)
]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines of a workspace, none of which runs; a run is finished once it was trained."""
    recorded: list[list[str]] = []

    def record(_: Workspace, *args: object) -> str:
        recorded.append([str(arg) for arg in args])
        if "--output" in args:
            Path(option(recorded[-1], "--output")).touch()
        if "--run" in args:
            Path(option(recorded[-1], "--run")).mkdir(exist_ok=True)
        others = {"nn": {"cider_d": 0.1}}
        return json.dumps(SCORES | {"checkpoint": "best.h5", "others": others})

    monkeypatch.setattr(Workspace, "captioner", record)
    monkeypatch.setattr(
        Workspace, "is_finished", lambda _, name, seed: any(f"{name}-{seed}" in line[-2] for line in recorded)
    )
    return recorded


def option(line: list[str], name: str) -> str:
    return line[line.index(name) + 1]


def of(command: str, commands: list[list[str]]) -> list[list[str]]:
    return [line for line in commands if line[0] == command]


def test_new_results_replace_those_of_the_same_config_only() -> None:
    old, new = ({"machine": dict.fromkeys(names, names)} for names in ([*quality.CONFIGS], ("flickr8k-lstm",)))
    scored = quality.merged(old, new)["machine"]
    assert scored == old["machine"] | new["machine"]
    assert list(scored) == list(quality.CONFIGS)


def test_the_runs_of_a_config_are_scored_in_every_way(tmp_path: Path, commands: list[list[str]]) -> None:
    (tmp_path / "photos-thousands-0").mkdir()
    (tmp_path / "photos-thousands-0" / "history.jsonl").write_text(
        '{"kind": "validation", "epoch": 1, "perplexity": 30.0}\n'
    )
    scored = quality.measure(Workspace(tmp_path, tmp_path), ["photos-thousands"])
    assert scored["curves"] == {"photos-thousands": [(1, 30.0)]}
    assert scored["gradients"] == {}
    ((_, runs),) = scored["scores"].items()
    assert {way: len(seeds) for way, seeds in runs.items()} == {"greedy": 3, "beam": 3, "re-ranked": 3}
    assert {option(line, "--run") for line in of("train", commands)} == {
        str(tmp_path / f"photos-thousands-{seed}") for seed in SEEDS
    }


@pytest.mark.parametrize("name", few_photos.RECIPES)
def test_a_recipe_is_trained_on_its_subset_and_scored(name: str, tmp_path: Path, commands: list[list[str]]) -> None:
    recipe = few_photos.RECIPES[name]
    (tmp_path / "dataset_flickr8k.json").write_text(json.dumps({"images": IMAGES}))
    for _ in range(2):  # scores are kept
        scores = few_photos.measure(Workspace(tmp_path, tmp_path), name, 1)
        assert scores.items() >= SCORES.items()
    (encoded, prepared), (trained,), scored = (of(step, commands) for step in ("prepare", "train", "evaluate"))
    images = json.loads(Path(prepared[1]).read_text())["images"]
    assert Counter(image["split"] for image in images)["val"] == recipe.photos // 10
    assert len(images) == recipe.photos + 20
    assert option(prepared, "--features") == option(encoded, "--output")
    assert option(trained, "--data") == option(prepared, "--output")
    assert [words[1] for words in scored] == [option(trained, "--run")] * 2
    assert few_photos.kept(scores).keys() >= {"alone", "seconds"}


def test_a_row_by_size_has_the_mean_gain_over_the_neighbours_of_each_seed() -> None:
    each = {"seconds": 90.0, "bytes": 4e7, "bleu4": 0.1, "alone": 0.2}
    runs = [{**each, "cider_d": 0.3, "nn": 0.1}, {**each, "cider_d": 0.5, "nn": 0.2}]
    scores = "1.5 ±0.0, 40.0 ±0.0, 10.0 ±0.0, 40.0 ±10.0, 20.0 ±0.0, 15.0 ±5.0, 25.0 ±5.0"
    row = few_photos.row(few_photos.Recipe("photos", 1000), runs)
    assert row == ("1,000", "`photos`", "2", *scores.split(", "))


def test_the_pages_have_the_tables() -> None:
    scored, page = json.loads((ROOT / "benchmarks" / "quality.json").read_text()), ROOT / "docs" / "results.md"
    assert quality.table(scored) in page.read_text()
    table, page = few_photos.render(json.loads(few_photos.FIGURES.read_text())), few_photos.PAGE.read_text()
    assert insert(page, table, few_photos.PART) == page
