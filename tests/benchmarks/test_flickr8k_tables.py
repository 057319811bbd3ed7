"""The tables of Flickr8k's scores: what is trained on which data, and means over seeds."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import ablation, few_photos, quality
from benchmarks.flickr8k import Workspace
from benchmarks.results import marks
from benchmarks.session import ROOT
from captioner.config.yaml_io import load
from captioner.images.recipe import parse_recipe

SCORES = dict.fromkeys(quality.SCORES, 0.2) | {"perplexity": 16.0, "distinct": 800, "novel": 0.5}
FOUND = {
    "single": {name: {"greedy": [SCORES] * 3, "beam": [SCORES] * 3} for name in quality.CONFIGS},
    "ensemble": {name: {"beam": SCORES} for name in quality.ENSEMBLES},
    "curves": {"lstm": [[1, 30.0]]},
    "gradients": {},
    "machine": {"rnn": "old"},
    "neighbours": dict.fromkeys(quality.SCORES, 0.151),
}


def test_the_table_of_quality_has_means_and_half_ranges() -> None:
    found = json.loads(json.dumps(FOUND))
    for seed, bleu in enumerate((0.19, 0.20, 0.22)):
        found["single"]["lstm"]["beam"][seed]["bleu4"] = bleu
    head, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in quality.table(found).splitlines())
    (row,) = (row for row in rows if row[:2] == ["plain LSTM", "beam"])
    assert row[head.index("BLEU-4")] == "20.3 ±1.5"
    assert row[head.index("perplexity")] == "16.00 ±0.00"
    assert len(rows) == 2 * len(quality.CONFIGS) + len(quality.ENSEMBLES) + 1


def test_new_results_replace_those_of_the_same_config_only() -> None:
    old = json.loads(json.dumps(FOUND))
    new = {part: {} for part in ("single", "ensemble", "curves", "gradients")} | {
        "neighbours": {},
        "machine": {"lstm": "new"},
    }
    new["single"] = {"lstm": {"greedy": []}}
    new["ensemble"] = {"best": {}}
    found = quality.merged(old, new)
    assert list(found["single"]) == list(quality.CONFIGS)
    assert found["single"]["lstm"] == {"greedy": []}
    assert found["single"]["rnn"] == FOUND["single"]["rnn"]
    assert found["ensemble"] == FOUND["ensemble"] | {"best": {}}
    assert found["curves"] == FOUND["curves"]
    assert found["machine"] == {"rnn": "old", "lstm": "new"}
    assert found["neighbours"] == {}


def test_the_teachers_write_their_captions_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(Workspace, "captioner", lambda _, *args: commands.append([*map(str, args)]) or "{}")
    monkeypatch.setattr(
        Workspace, "is_finished", lambda _, name, seed: any(f"{name}-{seed}" in c[-2] for c in commands)
    )
    workspace = Workspace(tmp_path, tmp_path)
    runs = [quality.train(workspace, "distilled", seed) for seed in quality.SEEDS]
    first, *others = (command for command in commands if command[0] == "distill")
    assert first[1:4] == [str(tmp_path / f"richer-{seed}") for seed in quality.SEEDS]
    assert "--captions" not in first
    for seed, command in zip(quality.SEEDS[1:], others, strict=True):
        assert command[1:4] == [str(tmp_path / f"richer-{seed}"), "--captions", str(runs[0])]
    assert sum(command[0] == "train" for command in commands) == 3


@pytest.mark.parametrize("name", ablation.VARIANTS)
def test_a_row_prepares_its_encoder_and_trains_the_config_with_every_seed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def record(_: Workspace, *args: object) -> str:
        commands.append([str(arg) for arg in args])
        return json.dumps(SCORES)

    monkeypatch.setattr(Workspace, "captioner", record)
    found = ablation.measure(Workspace(tmp_path, tmp_path), name)
    assert {way: len(many) for way, many in found.items()} == dict.fromkeys(ablation.DECODINGS, 3)
    (prepared,) = (command for command in commands if command[0] == "prepare")
    encoder = prepared[prepared.index("--encoder") + 1]
    assert encoder == ablation.VARIANTS[name].encoder
    parse_recipe(encoder)
    data = prepared[prepared.index("--output") + 1]
    trained = [command for command in commands if command[0] == "train"]
    assert [command[command.index("-o") + 1] for command in trained] == ["seed=0", "seed=1", "seed=2"]
    for command in trained:
        assert Path(command[command.index("-c") + 1]).stem == "flickr8k-richer"
        assert command[command.index("--data") + 1] == data


def images() -> list[dict[str, Any]]:
    splits = ["train"] * 600 + ["val"] * 20 + ["test"] * 30
    return [{"filename": f"{number}.jpg", "split": split} for number, split in enumerate(splits)]


def test_a_subset_has_training_images_and_is_tested_on_validation_images() -> None:
    every = {image["filename"]: image["split"] for image in images()}
    drawn = few_photos.subset(images(), 0)
    names = {split: {image["filename"] for image in drawn if image["split"] == split} for split in every.values()}
    assert {split: len(some) for split, some in names.items()} == {"train": 261, "val": 29, "test": 20}
    assert {every[name] for name in names["train"] | names["val"]} == {"train"}
    assert {every[name] for name in names["test"]} == {"val"}
    assert not names["train"] & names["val"]
    assert few_photos.subset(images(), 1) == few_photos.subset(images(), 1) != drawn


def test_the_table_of_few_photographs_has_means_and_half_ranges() -> None:
    many = [dict.fromkeys(few_photos.SCORES, value) for value in (0.1, 0.2, 0.6)]
    rows = few_photos.rows({few_photos.Recipe("richer", True, "photos"): many})
    assert rows == [("`richer`, `--regions`", "`photos`", "0.3 ±0.2", "30.0 ±25.0", "30.0 ±25.0")]
    of_model = few_photos.rows(
        {few_photos.Recipe("richer", False, None): [{**one, "perplexity": None} for one in many]}
    )
    assert of_model == [("`richer`", "`models/flickr8k`", "-", "30.0 ±25.0", "30.0 ±25.0")]


@pytest.mark.parametrize("recipe", few_photos.RECIPES)
def test_a_recipe_stores_the_regions_that_its_config_needs(recipe: few_photos.Recipe) -> None:
    parse_recipe(recipe.encoder)
    assert (load(Path(recipe.config or "photos")).model.attention != "none") == recipe.regions


def test_the_pages_have_the_tables() -> None:
    found = json.loads((ROOT / "benchmarks" / "quality.json").read_text())
    assert quality.table(found) in (ROOT / "docs" / "results.md").read_text()
    begin, end = marks(ablation.PART)
    table = ablation.render(json.loads(ablation.FIGURES.read_text()))
    assert f"{begin}\n{table}\n{end}" in ablation.PAGE.read_text()
    assert [few_photos.PAGE.read_text().count(mark) for mark in marks()] == [1, 1]
