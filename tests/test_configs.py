"""Shipped configs run, and the choices of the config are those of the code."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from captioner.configio import OPTIONS, load
from captioner.data import SOURCES
from captioner.layers import CELLS
from captioner.optim import RULES, SCHEDULES
from captioner.run.build import OUTPUT_BIASES
from captioner.run.train import Ended, train

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
TABLES = {
    "data.source": SOURCES,
    "model.cell": CELLS,
    "model.output_bias": OUTPUT_BIASES,
    "train.update_rule": RULES,
    "train.schedule": SCHEDULES,
}
DATA = (
    "data.scenes.train=40", "data.scenes.val=10", "data.scenes.test=5", "data.scenes.heldout=5", "train.max_steps=2"
)  # fmt: skip
every_config = pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])


def test_there_are_configs() -> None:
    assert {path.stem for path in CONFIGS} >= {"scenes-lstm", "scenes-rnn"}


@every_config
def test_a_config_runs_two_steps(path: Path, write_coco: Callable[..., Path], tmp_path: Path) -> None:
    overrides = list(DATA)
    if load(path).data.source == "cs231n":
        overrides.append(f"data.root={write_coco(tmp_path / 'data')}")
    *_, ended = train(load(path, overrides), tmp_path / "run")
    assert isinstance(ended, Ended)
    assert ended.summary["steps"] == 2


@every_config
def test_a_config_begins_with_the_command_that_runs_it(path: Path) -> None:
    """With the time that it takes and the score to expect, or that they were not measured."""
    header = path.read_text().split("\ndata:")[0].replace("\n# ", " ")
    assert header.startswith(f"# captioner train -c configs/{path.name}")
    assert re.search(r"\d+ s\b|minutes?\b", header)
    assert re.search(r"perplexity \d|\d %|Not measured", header)


@pytest.mark.parametrize("option", [path for path, option in OPTIONS.items() if option.choices])
def test_the_choices_are_those_of_the_table(option: str) -> None:
    choices = OPTIONS[option].choices
    assert choices == tuple(TABLES[option]) if option in TABLES else choices == ("float32", "float64")


def test_every_source_has_a_section() -> None:
    assert all(any(option.startswith(f"data.{source}.") for option in OPTIONS) for source in SOURCES)
