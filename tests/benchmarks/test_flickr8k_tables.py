"""The benchmarks on Flickr8k: what is trained on which data, and tables of means over seeds."""

import json
from collections import Counter
from pathlib import Path
from subprocess import CalledProcessError

import pytest
from click.testing import CliRunner

from benchmarks import few_photos, quality
from benchmarks.flickr8k import SEEDS, Workspace
from benchmarks.results import insert
from benchmarks.session import ROOT
from captioner.config import yaml_io
from captioner.config.overrides import read_overrides

SCORES = dict.fromkeys(quality.SCORES, 0.2) | {"perplexity": 16.0, "distinct": 800, "novel": 0.5}
USAGE = {"seconds": 90.0, "bytes": 4e8}


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
        others = {"nn": {"bleu4": 0.1, "cider_d": 0.1}}
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


@pytest.mark.parametrize(
    ("name", "smaller", "min_count"),
    [("flickr8k-10", True, "1"), ("coco-290", True, "1"), ("flickr8k-1000", False, "5"), ("coco-5000", False, "5")],
)
def test_photographs_are_trained_on_with_and_without_a_base_of_the_other_source(
    name: str, smaller: bool, min_count: str, tmp_path: Path, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(few_photos, "usage_of", lambda *args: commands.append([*map(str, args)]) or USAGE)
    source, photos, seeds = few_photos.RECIPES[name]
    images = [{"filename": f"{n}.jpg", "split": split} for n, split in enumerate(["train"] * 5100 + ["val"] * 20)]
    (tmp_path / f"{source}.json").write_text(json.dumps({"images": images}))
    assert len(seeds) == (1 if photos == 5000 else 3)
    workspace = Workspace(tmp_path, tmp_path)
    draw = few_photos.measure(workspace, name, 1)
    scores = {score: SCORES[score] for score in few_photos.SCORES}
    trained = dict.fromkeys(("nothing", "photos"), scores | USAGE)
    assert draw == {"base": scores, "nn": {"bleu4": 0.1, "cider_d": 0.1}, **trained}
    (prepared,), (base, nothing, own), evaluated = (of(step, commands) for step in ("prepare", "train", "evaluate"))
    of_row = json.loads(Path(prepared[prepared.index("--features") - 1]).read_text())["images"]
    val = max(1, photos // 10)
    assert Counter(image["split"] for image in of_row) == {"train": photos - val, "val": val, "test": 20}
    assert option(prepared, "--min-count") == min_count
    assert option(base, "--data") == str(tmp_path / f"{few_photos.OTHER[source]}.h5")
    assert {option(line, "--data") for line in (nothing, own)} == {option(prepared, "--output")}
    assert [Path(line[2]).stem for line in (base, nothing, own)] == ["everyday", "photos-thousands", "photos"]
    assert ("model.hidden_dim=256" in nothing) == smaller
    assert f"train.init_from={option(base, '--run')}" in own
    assert all("threads=1" in line for line in (base, nothing, own, *evaluated))
    assert [line[1] for line in evaluated] == [option(line, "--run") for line in (base, nothing, own)]
    assert few_photos.measure(workspace, name, 1) == draw
    assert len(of("train", commands)) == 3, "what is trained is kept"


def test_the_options_for_training_few_from_nothing_exist() -> None:
    config = yaml_io.load(Path("photos-thousands"), read_overrides(few_photos.SMALL))
    assert config.train.ema_decay is None
    assert not config.ignored


def test_the_usage_is_that_of_one_process() -> None:
    usage = few_photos.usage_of("--version")
    assert 0 < usage["seconds"] < 60
    assert 1e6 < usage["bytes"] < 1e9
    with pytest.raises(CalledProcessError):
        few_photos.usage_of("train", "-c", "none")


def test_a_row_by_size_has_the_means_over_draws() -> None:
    trained = {"bleu4": 0.1, "cider_d": 0.3, "seconds": 90.0, "bytes": 4e8}
    first = {"base": {"bleu4": 0.2, "cider_d": 0.25}, "nn": {"cider_d": 0.1}, "nothing": trained, "photos": trained}
    draws = [first, {**first, "nn": {"cider_d": 0.2}, "photos": {**trained, "cider_d": 0.5}}]
    row = few_photos.row(few_photos.RECIPES["flickr8k-1000"], draws)
    cells = "1.5 ±0.0, 400.0 ±0.0, 20.0, 25.0, 15.0 ±5.0, 10.0 ±0.0, 30.0 ±0.0, 10.0 ±0.0, 40.0 ±10.0"
    assert row == ("Flickr8k", "1,000", "2", *cells.split(", "))
    assert few_photos.render({"flickr8k-1000": draws}).endswith(f"| {' | '.join(row)} |")


def test_the_table_has_the_draws_of_other_processes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {"bleu4": 0.1, "cider_d": 0.2}
    draw = {"base": scores, "nn": scores, "nothing": scores, "photos": scores | USAGE}
    (tmp_path / "figures.json").write_text(json.dumps({"coco-10": [draw], "flickr8k-10": [draw] * 3}))
    (tmp_path / "page.md").write_text("<!-- sizes:begin -->\n<!-- sizes:end -->\n")
    monkeypatch.setattr(few_photos, "FIGURES", tmp_path / "figures.json")
    monkeypatch.setattr(few_photos, "PAGE", tmp_path / "page.md")
    measured: list[tuple[str, int]] = []
    monkeypatch.setattr(few_photos, "measure", lambda _, name, seed: measured.append((name, seed)) or draw)
    workspace = Workspace(tmp_path, tmp_path)
    few_photos.score_file(workspace, "flickr8k-10", 2).write_text(json.dumps(draw))
    few_photos.score_file(workspace, "flickr8k-30", 1).write_text(json.dumps(draw))
    words = [str(tmp_path), str(tmp_path), "--only", "flickr8k-30", "--only", "coco-5000"]
    assert CliRunner().invoke(few_photos.main, words, catch_exceptions=False).exit_code == 0
    assert measured == [("flickr8k-30", 0), ("coco-5000", 0), ("flickr8k-30", 2)]
    draws = {name: len(draws) for name, draws in json.loads((tmp_path / "figures.json").read_text()).items()}
    assert list(draws.items()) == [("flickr8k-10", 1), ("flickr8k-30", 3), ("coco-10", 1), ("coco-5000", 1)]
    assert (tmp_path / "page.md").read_text().count("\n| ") == 1 + len(draws)


def test_the_pages_have_the_tables() -> None:
    scored, page = json.loads((ROOT / "benchmarks" / "quality.json").read_text()), ROOT / "docs" / "results.md"
    assert quality.table(scored) in page.read_text()
    table, page = few_photos.render(json.loads(few_photos.FIGURES.read_text())), few_photos.PAGE.read_text()
    assert insert(page, table, few_photos.PART) == page
