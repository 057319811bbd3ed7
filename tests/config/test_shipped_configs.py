"""Shipped configs run, and the choices of options match the tables of the code."""

import re
from collections.abc import Callable
from inspect import signature
from pathlib import Path

import pytest

from captioner.config.options import ENCODER, Prepare
from captioner.config.yaml_io import OPTIONS, load
from captioner.data import SOURCES
from captioner.data.features import MEMORY_MIB
from captioner.data.prepared import write_prepared
from captioner.data.readers import Columns
from captioner.images import ENCODERS
from captioner.inference.decoder import METHODS
from captioner.layers import CELLS
from captioner.metrics import NAMES
from captioner.model.attention import ATTENTIONS
from captioner.model.image_input import IMAGE_INPUTS
from captioner.optim.schedules import SCHEDULES
from captioner.optim.update_rules import UPDATE_RULES
from captioner.training.build import OUTPUT_BIASES
from captioner.training.events import Ended
from captioner.training.train import train

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
TABLES = {
    "data.source": SOURCES,
    "model.cell": CELLS,
    "model.output_bias": OUTPUT_BIASES,
    "train.update_rule": UPDATE_RULES,
    "train.schedule": SCHEDULES,
    "decode.method": METHODS,
    "model.image_input": IMAGE_INPUTS,
    "model.attention": ATTENTIONS,
    "train.objective": ("cross_entropy", "self_critical"),
    "validate.best_metric": ("loss", *NAMES),
}
DATA = (
    "data.scenes.train=40", "data.scenes.val=10", "data.scenes.test=5", "data.scenes.heldout=5", "train.max_steps=2"
)  # fmt: skip
every_config = pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])


def test_configs_are_shipped() -> None:
    assert {path.stem for path in CONFIGS} >= {"scenes-lstm", "scenes-rnn"}


@every_config
def test_a_config_runs_two_steps(path: Path, write_coco: Callable[..., Path], tmp_path: Path) -> None:
    overrides = list(DATA)
    folder = write_coco(tmp_path / "data")
    if load(path).data.source == "cs231n":
        overrides.append(f"data.root={folder}")
    if load(path).data.source == "prepared":
        write_prepared(folder / "data.h5", SOURCES["cs231n"](folder), {})
        overrides.append(f"data.root={folder / 'data.h5'}")
    if load(path, overrides).train.init_from is not None:
        start = ("train.objective=cross_entropy", "train.init_from=null")
        list(train(load(path, [*overrides, *start]), tmp_path / "start"))
        overrides.append(f"train.init_from={tmp_path / 'start'}")
    *_, ended = train(load(path, overrides), tmp_path / "run")
    assert isinstance(ended, Ended)
    assert ended.summary["steps"] == 2


@every_config
def test_a_config_starts_with_its_command(path: Path) -> None:
    """The header also has the duration and the expected score, or says that they are not measured."""
    header = path.read_text().split("\ndata:")[0].replace("\n# ", " ")
    assert header.startswith(f"# captioner train -c configs/{path.name}")
    assert re.search(r"\d+ s\b|minutes?\b", header)
    assert re.search(r"perplexity \d|\d %|Not measured", header)


@pytest.mark.parametrize("option", [path for path, option in OPTIONS.items() if option.choices])
def test_choices_match_the_table(option: str) -> None:
    choices = OPTIONS[option].choices
    assert choices == tuple(TABLES[option]) if option in TABLES else choices == ("float32", "float64")


def test_defaults_outside_the_config_match_it() -> None:
    prepare = Prepare()
    assert Columns() == (prepare.image_column, prepare.caption_column, prepare.split_column)
    assert OPTIONS["data.memory_mib"].default == MEMORY_MIB
    assert prepare.encoder is None
    assert ENCODER in ENCODERS


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_has_the_parameters_of_its_section(source: str) -> None:
    section = {option.rpartition(".")[2] for option in OPTIONS if option.startswith(f"data.{source}.")}
    assert signature(SOURCES[source]).parameters.keys() - {"root", "memory_mib", "regions"} == section
