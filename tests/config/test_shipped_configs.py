"""Shipped configs run, and the choices of options match the tables of the code."""

import dataclasses
import os
import re
import shutil
from collections.abc import Callable
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

from captioner.captioning.decoding import METHODS
from captioner.config.options import ENCODER, Prepare
from captioner.config.overrides import read_overrides
from captioner.config.yaml_io import FOLDER, OPTIONS, description, load, shipped
from captioner.data.caption_readers import Columns
from captioner.data.corpus import Corpus
from captioner.data.features import MEMORY_MIB
from captioner.data.prepared import write_prepared
from captioner.data.vocabulary import VOCABULARIES
from captioner.errors import ConfigError
from captioner.layers.feed_forward import ACTIVATIONS
from captioner.metrics import NAMES
from captioner.model.build import DECODERS
from captioner.model.image_input import IMAGE_INPUTS
from captioner.model.parameters import ATTENTIONS
from captioner.optim import SCHEDULES, UPDATE_RULES
from captioner.photos.recipes import ENCODERS, parse_recipe
from captioner.preparation.load_corpus import SOURCES, build_corpus
from captioner.training.build import OBJECTIVES, OUTPUT_BIASES
from captioner.training.train import Ended, train

CONFIGS = list(shipped().values())
TABLES = {
    "data.source": SOURCES,
    "data.vocabulary": VOCABULARIES,
    "model.decoder": DECODERS,
    "model.activation": ACTIVATIONS,
    "model.output_bias": OUTPUT_BIASES,
    "train.update_rule": UPDATE_RULES,
    "train.schedule": SCHEDULES,
    "decode.method": METHODS,
    "model.image_input": IMAGE_INPUTS,
    "model.attention": ATTENTIONS,
    "train.objective": OBJECTIVES,
    "validate.best_metric": ("loss", *NAMES),
}
SMALL = (
    "data.scenes.train=40", "data.scenes.val=10", "data.scenes.test=5", "data.scenes.heldout=5", "train.max_steps=2",
    "model.hidden_dim=16",
)  # fmt: skip
every_config = pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])


def with_regions(corpus: Corpus) -> Corpus:
    """The same data set with 2 x 2 regions per image, as from a file of features."""
    regions = {name: np.zeros((len(split.image_ids), 2, 2, 3), np.float32) for name, split in corpus.splits.items()}
    splits = {name: dataclasses.replace(split, regions=regions[name]) for name, split in corpus.splits.items()}
    return dataclasses.replace(corpus, splits=splits, encoder="features:a.h5")


@pytest.mark.smoke
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[] if "scenes" in path.stem else pytest.mark.slow) for path in CONFIGS],
)
def test_a_config_runs_two_steps(path: Path, write_coco: Callable[..., Path], tmp_path: Path) -> None:
    overrides = read_overrides(SMALL[4 * (load(path).data.source != "scenes") :])
    folder = write_coco(tmp_path / "data")
    if load(path).data.source == "cs231n":
        overrides["data.root"] = folder
    if load(path).data.source == "prepared":
        write_prepared(folder / "data.h5", with_regions(SOURCES["cs231n"](folder)), {})
        overrides["data.root"] = folder / "data.h5"
    if load(path, overrides).train.init_from is not None:
        start = {"train.objective": "cross_entropy", "train.similarity_weight": 0}
        start |= dict.fromkeys(("train.init_from", "data.captions"))
        list(train(load(path, {**overrides, **start}), tmp_path / "start"))
        overrides["train.init_from"] = tmp_path / "start"
    config = load(path, overrides)
    if config.data.captions is not None:
        file, train_split = tmp_path / "teacher.jsonl", build_corpus(config).split("train")
        file.write_text("".join(f'{{"image": "{image}", "caption": "a"}}\n' for image in train_split.image_ids))
        config = load(path, {**overrides, "data.captions": file})
    *_, ended = train(config, tmp_path / "run")
    assert isinstance(ended, Ended)
    assert ended.summary["step"] == 2


@every_config
def test_a_config_starts_with_its_description_and_command(path: Path) -> None:
    """The header also has the duration and the expected score, or says that they are not measured."""
    first, blank, command, *rest = path.read_text().partition("\ndata:")[0].splitlines()
    header = " ".join(rest)
    assert (first, blank) == (f"# {description(path)}", "#")
    assert 20 < len(description(path)) < 100
    assert command.startswith(f"# captioner train -c {path.stem}")
    assert re.search(r"\d+ s\b|minutes?\b", header)
    assert re.search(r"perplexity \d|\d %|Not measured", header)


def test_a_name_is_a_shipped_config_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("photos").mkdir()  # a folder of photographs
    config = load(Path("photos"))
    assert config.data.root == tmp_path.resolve() / "here" / "photos.h5"
    assert config == load(FOLDER / "photos.yaml") == load(Path(os.path.relpath(FOLDER / "photos.yaml")))
    shutil.copy(FOLDER / "photos.yaml", tmp_path / "my.yaml")
    assert load(tmp_path / "my.yaml").data.root == tmp_path.resolve() / "photos.h5", "a copy starts at its folder"
    Path("scenes-rnn").write_text("seed: 3\ndata: {source: prepared, root: here.h5}\n")
    assert load(Path("scenes-rnn")).seed == 3, "a file is used before a shipped config"
    assert load(Path("scenes-rnn")).data.root == tmp_path.resolve() / "here" / "here.h5"


UNKNOWN = {
    "photos-thousend": "did you mean photos-thousands?",
    "configs/photos.yaml": "did you mean photos?",
    "scenes_rnn": "did you mean scenes-rnn?",
    "nothing": "captioner config list prints the shipped configs",
    "nothing.yaml": "captioner config init FILE writes a new one",
}


def test_an_unknown_config_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, hint in UNKNOWN.items():
        with pytest.raises(ConfigError) as caught:
            load(Path(name))
        assert str(caught.value) == f"{name}: not found ({hint})"


@pytest.mark.parametrize("option", [path for path, option in OPTIONS.items() if option.choices])
def test_choices_match_the_table(option: str) -> None:
    assert OPTIONS[option].choices == tuple(TABLES.get(option, ("float32", "float64")))


def test_defaults_outside_the_config_match_it() -> None:
    prepare = Prepare()
    assert Columns()[:3] == (prepare.image_column, prepare.caption_column, prepare.split_column)
    assert OPTIONS["data.memory_mib"].default == MEMORY_MIB
    assert prepare.encoder is None
    assert parse_recipe(ENCODER).name in ENCODERS


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_has_the_parameters_of_its_section(source: str) -> None:
    section = {option.rpartition(".")[2] for option in OPTIONS if option.startswith(f"data.{source}.")}
    assert signature(SOURCES[source]).parameters.keys() - {"root", "memory_mib", "regions"} == section
