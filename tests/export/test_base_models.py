"""A model package names the model packages that its training started from, with their licenses."""

import json
from pathlib import Path

import pytest
from packaged import packaged

import captioner
from captioner.errors import CheckpointError
from captioner.export.card import CardOptions
from captioner.export.package import write_package
from captioner.inference.package_info import INFO, read_info


@pytest.mark.parametrize("way", ["through a package", "through a run"])
def test_a_package_names_every_model_that_it_comes_from(
    way: str, tiny_run: Path, small: tuple[str, ...], tmp_path: Path
) -> None:
    write_package(tiny_run, tmp_path / "birds", CardOptions(license="cc-by-nc-4.0"), "birds")
    options = (*small, "train.max_steps=1")
    captioner.train(None, tmp_path / "tuned", (*options, f"train.init_from={tmp_path / 'birds'}"))
    start, nearest = tmp_path / "tuned", []
    if way == "through a package":
        write_package(start, tmp_path / "shop", CardOptions(license="mit"), "shop")
        start, nearest = tmp_path / "shop", [{"name": "shop", "license": "mit"}]
    captioner.train(None, tmp_path / "again", (*options, f"train.init_from={start}"))
    module = packaged(tmp_path / "again", tmp_path / "last")
    base_models = [*nearest, {"name": "birds", "license": "cc-by-nc-4.0"}]
    assert json.loads((module / INFO).read_text())["base_models"] == base_models
    named = ", ".join(f"{one['name']} (license: {one['license']})" for one in base_models)
    assert f"Fine-tuned, directly or through other models, from: {named}. The terms" in (module / "card.md").read_text()
    again = packaged(module.parent, tmp_path / "copy")  # a package of a package
    assert json.loads((again / INFO).read_text())["base_models"] == base_models


def test_a_killed_training_has_recorded_them(bird_package: Path, small: tuple[str, ...], tmp_path: Path) -> None:
    captioner.train(None, tmp_path / "tuned", (*small, "train.max_steps=1", f"train.init_from={bird_package}"))
    (tmp_path / "tuned" / "summary.json").unlink()  # written at the end
    module = packaged(tmp_path / "tuned", tmp_path / "model")
    assert json.loads((module / INFO).read_text())["base_models"] == [{"name": "birds", "license": "unknown"}]


BIRDS = {"name": "birds", "license": "mit"}


@pytest.mark.parametrize(
    "base_models",
    [
        None,
        "birds",
        {},
        ["birds"],
        [{"name": "birds"}],
        [BIRDS, {**BIRDS, "license": 1}],
        [{**BIRDS, "name": "two\nlines"}],
        [{**BIRDS, "license": "x), cats (license: mit"}],
        [{**BIRDS, "license": "m" * 62}],
        [BIRDS] * 21,
    ],
)
def test_damaged_base_models_are_one_line(base_models: object, tiny_run: Path, tmp_path: Path) -> None:
    info = packaged(tiny_run, tmp_path / "model") / INFO
    info.write_text(json.dumps({**json.loads(info.read_text()), "base_models": base_models}))
    with pytest.raises(CheckpointError, match=r"model\.json: base_models: expected a list of at most 20 models with "):
        read_info(info.parent)


def test_a_package_without_base_models_is_read(tiny_run: Path, tmp_path: Path) -> None:
    info = packaged(tiny_run, tmp_path / "model") / INFO
    values = json.loads(info.read_text())
    del values["base_models"]
    info.write_text(json.dumps(values))
    assert read_info(info.parent).base_models == ()


@pytest.mark.parametrize("license", ["", "two words", "<b>"])
def test_a_license_of_another_form_is_one_line(license: str, tiny_run: Path, tmp_path: Path) -> None:
    info = packaged(tiny_run, tmp_path / "model") / INFO
    info.write_text(json.dumps({**json.loads(info.read_text()), "license": license}))
    with pytest.raises(CheckpointError, match=r"model\.json: license: expected an identifier such as mit, got "):
        read_info(info.parent)


def test_damaged_base_models_of_a_run_are_not_lost(own_run: Path, tmp_path: Path) -> None:
    record = {"kind": "init_from", "step": 0, "base_models": [{**BIRDS, "name": "two\nlines"}]}
    (own_run / "history.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(
        CheckpointError, match=r"history\.jsonl: base_models: expected a list of at most 20 models with "
    ):
        packaged(own_run, tmp_path / "model")
    assert not (tmp_path / "model").exists()
