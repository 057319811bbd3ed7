"""The ablation of flickr8k-richer: one row per variant, means over seeds, and one data set and config for each row."""

import json
from pathlib import Path

import pytest

from benchmarks import ablation
from benchmarks.flickr8k import Workspace
from benchmarks.report import marks
from captioner.images.recipe import parse_recipe

SCORES = {"perplexity": 19.0, "bleu4": 0.25, "cider_d": 0.6}


def test_a_row_has_means_and_half_ranges() -> None:
    many = [{**SCORES, "cider_d": value} for value in (0.58, 0.6, 0.65)]
    found = {name: dict.fromkeys(ablation.DECODINGS, many) for name in ("mirror", "lite0")}
    head, _, first, second = (line.split(" | ") for line in ablation.render(found).splitlines())
    assert (first[0], second[0]) == ("| EfficientNet-Lite0", "| + mirror images")
    assert first[1:4] == ["19.0 ±0.0", "25.0 ±0.0", "61.0 ±3.5"]
    assert len(head) == len(first) == 2 + 2 * len(ablation.DECODINGS)


@pytest.mark.parametrize("name", ablation.VARIANTS)
def test_a_row_prepares_its_encoder_and_trains_the_config_with_every_seed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def record(_: Workspace, *args: object) -> str:
        commands.append([str(arg) for arg in args])
        return json.dumps(SCORES | {"novel": 0.5})

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


def test_the_page_has_the_table_of_the_figures() -> None:
    begin, end = marks(ablation.PART)
    table = ablation.render(json.loads(ablation.FIGURES.read_text()))
    assert f"{begin}\n{table}\n{end}" in ablation.PAGE.read_text()
