"""A model package contains what decoding needs, in half the precision, its base models, and nothing of the machine."""

import dataclasses
import json
import os
import shutil
import tomllib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaged import packaged
from random_models import images, random_run

import captioner
from captioner.config.options import Config
from captioner.errors import CaptionerError, CheckpointError, UsageError
from captioner.export.card import CardOptions
from captioner.export.export_onnx import export_onnx
from captioner.export.package import write_package
from captioner.inference.find_checkpoint import find_checkpoint
from captioner.inference.load import open_run
from captioner.inference.package_info import INFO, NOT_PACKAGED, WEIGHTS, read_card, read_info
from captioner.inference.restore import Restored
from captioner.model.decoders import DECODERS
from captioner.model.region_attention import ATTENTIONS
from captioner.storage import checkpoint
from captioner.storage.sealed import MODEL_SEAL
from captioner.training.resume import resume


def test_a_package_has_the_files_of_a_python_project(tiny_run: Path, tmp_path: Path) -> None:
    module = packaged(tiny_run, tmp_path / "deep" / "model", version="2.0rc1")
    files = {str(path.relative_to(module.parent)) for path in module.parent.rglob("*") if path.is_file()}
    names = ("__init__.py", "card.md", "weights.h5", "model.json")
    assert files == {"README.md", "pyproject.toml", *(os.path.join(module.name, name) for name in names)}
    project = tomllib.loads((module.parent / "pyproject.toml").read_text())
    assert (project["project"]["name"], project["project"]["version"]) == ("captioner-birds", "2.0rc1")
    assert project["project"]["entry-points"] == {"captioner.models": {"birds": "captioner_birds"}}
    assert project["project"]["dependencies"] == [f"captioner[images]>={captioner.__version__}"]
    assert project["build-system"]["requires"] == ["setuptools>=61"]
    assert (module / "card.md").read_text() == (module.parent / "README.md").read_text()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_weights_are_float16_and_loaded_in_the_dtype_of_the_model(
    dtype: str, small: tuple[str, ...], tmp_path: Path
) -> None:
    overrides = (*small, f"model.dtype={dtype}", "data.standardize=true", "train.ema_decay=0.5", "train.max_steps=3")
    captioner.train(None, tmp_path / "run", overrides)
    module = packaged(tmp_path / "run", tmp_path / "model")
    saved = checkpoint.load(module / WEIGHTS, seal=MODEL_SEAL)
    assert saved.slots == {}
    assert {w.dtype for w in saved.params.values()} == {np.dtype(np.float16)}
    before, after = open_run(tmp_path / "run"), open_run(module.parent)
    assert {w.dtype for w in after.model.params.values()} == {np.dtype(dtype)}
    for name, w in before.model.params.items():  # with the moving average
        assert np.array_equal(after.model.params[name], w.astype(np.float16).astype(dtype))
    assert before.model.standardizer is not None
    assert after.model.standardizer is not None
    assert np.array_equal(after.model.standardizer.mean, before.model.standardizer.mean)
    assert (after.vocab, after.meta.encoder) == (before.vocab, before.meta.encoder)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_captions_equal_those_of_the_run(decoder: str, attention: str, tmp_path: Path) -> None:
    run = random_run(tmp_path / "run", decoder, "init", attention, ["decode.max_length=6"])
    before, after = captioner.load(run), captioner.load(packaged(run, tmp_path / "model").parent)
    features, regions = images(attention != "none")
    regions = None if regions is None else regions.reshape(len(regions), 2, 2, -1)
    captions, others = (model.caption(features=features, regions=regions) for model in (before, after))
    assert len({caption.text for caption in captions}) > 2
    assert [caption.text for caption in captions] == [caption.text for caption in others]
    np.testing.assert_allclose([c.log_prob for c in captions], [c.log_prob for c in others], rtol=0.01)


def test_no_file_contains_a_path_of_the_machine(photo_run: Path, tmp_path: Path) -> None:
    """The config of the run contains the path of the data set."""
    assert str(photo_run.parent) in (photo_run / "config.yaml").read_text()
    folder = packaged(photo_run, tmp_path / "model").parent
    for file in folder.rglob("*"):
        assert file.is_dir() or str(photo_run.parent).encode() not in file.read_bytes(), file
    root = open_run(folder).config.data.root
    assert root is not None
    assert root.name == NOT_PACKAGED.name


def test_the_number_of_threads_of_the_machine_is_not_packaged(own_run: Path, tmp_path: Path) -> None:
    write_package(own_run, tmp_path / "model", CardOptions(), "birds", overrides=["threads=1"])
    assert open_run(tmp_path / "model").config.threads == Config.threads != 1


@pytest.mark.parametrize(("width", "packaged_width"), [(3, 3), (10, 10), (60, 10)])
def test_consensus_and_its_wide_beam_are_switched_off_with_notes(
    width: int, packaged_width: int, own_run: Path, tmp_path: Path
) -> None:
    overrides = [f"decode.beam_width={width}", "decode.consensus=5", "decode.guidance=2"]
    written = write_package(own_run, tmp_path / "model", CardOptions(), "birds", overrides=overrides)
    note, *others = written.notes
    assert note.startswith("decode.consensus: set to 0 (was 5); ")
    assert [other.partition(";")[0] for other in others] == ["decode.beam_width: set to 10 (was 60)"] * (width > 10)
    decode = open_run(tmp_path / "model").config.decode
    assert (decode.consensus, decode.guidance, decode.beam_width) == (0, 0, packaged_width)


def test_a_package_can_be_packaged_again_without_loss(bird_package: Path, tmp_path: Path) -> None:
    again = packaged(bird_package, tmp_path / "again", version="1.0.1")
    first, second = (open_run(folder).model.params for folder in (bird_package, again.parent))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_a_parameter_that_is_too_large_for_float16_is_refused(own_run: Path, tmp_path: Path) -> None:
    saved = checkpoint.load(own_run / "best.h5")
    saved.params["b"][0] = 1e6
    checkpoint.save(own_run / "best.h5", saved)
    with pytest.raises(CheckpointError, match=r"array params/b: a parameter is too large for float16$"):
        packaged(own_run, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_name_is_that_of_the_folder_of_the_package(own_run: Path, tmp_path: Path) -> None:
    assert write_package(own_run, tmp_path / "My Birds_2", CardOptions()).info.name == "my-birds-2"
    with pytest.raises(UsageError, match="expected a folder name with letters a-z or digits; set --name"):
        write_package(own_run, tmp_path / "猫", CardOptions())


@pytest.mark.parametrize(
    ("card", "options", "message"),
    [
        ({}, {"name": "../x"}, "--name ../x: expected"),
        ({}, {"name": "Birds"}, "--name Birds: expected"),
        ({}, {"name": "a" * 61}, "--name a"),
        ({}, {"version": "1.0; import os"}, "--version 1.0; import os: expected"),
        ({}, {"version": "one"}, "--version one: expected"),
        ({"license": "a b"}, {}, "--license a b: expected an identifier such as cc-by-4.0"),
        ({"language": "<x>"}, {}, "--language <x>: expected an identifier such as en"),
    ],
)
def test_invalid_options_are_refused(
    card: dict[str, str], options: dict[str, Any], message: str, tiny_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        write_package(tiny_run, tmp_path / "model", CardOptions(**card), **options)  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)
    assert not (tmp_path / "model").exists()


def test_only_a_package_of_the_same_model_is_replaced(tiny_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    module = packaged(tiny_run, folder)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists already and is not empty"):
        packaged(tiny_run, folder, version="2.0")
    with pytest.raises(UsageError, match="expected the model package cats to replace, got 'birds'"):
        packaged(tiny_run, folder, "cats", version="2.0", overwrite=True)
    assert json.loads((module / INFO).read_text())["version"] == "1.0.0"
    packaged(tiny_run, folder, version="2.0", overwrite=True)
    assert json.loads((module / INFO).read_text())["version"] == "2.0"
    assert (folder / "notes.txt").read_text() == "mine"
    assert sorted(os.listdir(folder)) == ["README.md", "captioner_birds", "notes.txt", "pyproject.toml"]
    (module / INFO).write_text("{")
    packaged(tiny_run, folder, overwrite=True)
    assert open_run(folder).path == find_checkpoint(folder)
    for path, got in ((module / INFO, "a file"), (tmp_path, "no model package")):
        with pytest.raises(UsageError, match=got):
            packaged(tiny_run, path, overwrite=True)


def test_a_full_disk_is_an_error_and_leaves_nothing(
    tiny_run: Path, tmp_path: Path, files_of_at_most: Callable[[int], AbstractContextManager[None]]
) -> None:
    with files_of_at_most(2000), pytest.raises(CaptionerError, match="cannot write"):
        packaged(tiny_run, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_package_cannot_be_resumed_or_hold_another_kind(bird_package: Path, tiny_run: Path) -> None:
    assert isinstance(open_run(bird_package), Restored)
    with pytest.raises(CaptionerError):
        captioner.resume(bird_package)
    with pytest.raises(CheckpointError, match="not a captioner checkpoint"):
        checkpoint.load(find_checkpoint(bird_package))
    with pytest.raises(CheckpointError, match="not a captioner model"):
        checkpoint.load(tiny_run / "best.h5", seal=MODEL_SEAL)


def test_the_rest_of_a_killed_writer_is_replaced(tiny_run: Path, tmp_path: Path) -> None:
    rest = tmp_path / "model" / ".captioner-package-1"
    rest.mkdir(parents=True)
    (rest / WEIGHTS).touch()
    module = packaged(tiny_run, tmp_path / "model")
    assert not rest.exists()
    (module / WEIGHTS).unlink()  # stopped before the last step
    packaged(tiny_run, tmp_path / "model", overwrite=True)
    assert open_run(tmp_path / "model").path == module / WEIGHTS


def test_an_unknown_encoder_can_be_named(tiny_run: Path, own_run: Path, tmp_path: Path) -> None:
    saved = checkpoint.load(own_run / "best.h5")
    unknown = dataclasses.replace(saved.meta, encoder="cs231n:vgg16_fc7")
    checkpoint.save(own_run / "best.h5", dataclasses.replace(saved, meta=unknown))
    module = packaged(own_run, tmp_path / "unknown")
    assert '"captioner>=' in (module.parent / "pyproject.toml").read_text()
    assert "captioner cannot compute these image features" in (module / "card.md").read_text()
    module = packaged(own_run, tmp_path / "model", encoder="scenes")
    assert open_run(module.parent).meta.encoder == "scenes-1"
    assert '"captioner[images]>=' in (module.parent / "pyproject.toml").read_text()
    with pytest.raises(CheckpointError, match="expected 231 numbers per image, got 1280"):
        packaged(own_run, tmp_path / "other", encoder="efficientnet-lite0")
    with pytest.raises(CheckpointError, match="expected encoder scenes-1, got efficientnet-lite0-1"):
        packaged(tiny_run, tmp_path / "other", encoder="efficientnet-lite0")
    assert not (tmp_path / "other").exists()


def base_models(module: Path) -> Any:
    return json.loads((module / INFO).read_text())["base_models"]


TERMS = "Photographs of birds: for research and education only"
BIRDS = {"name": "birds", "license": "other", "terms": TERMS}
SHOP = {"name": "shop", "license": "cc-by-nc-4.0", "terms": ""}


@pytest.fixture
def restricted(tiny_run: Path, tmp_path: Path) -> Path:
    """The folder of a model package with terms."""
    write_package(tiny_run, tmp_path / "birds", CardOptions(license="other", data_terms=TERMS), "birds")
    return tmp_path / "birds"


@pytest.mark.parametrize("way", ["through a package", "through a run"])
def test_a_package_names_every_model_that_it_comes_from(
    way: str, restricted: Path, small: tuple[str, ...], tmp_path: Path
) -> None:
    options = (*small, "train.max_steps=1")
    captioner.train(None, tmp_path / "tuned", (*options, f"train.init_from={restricted}"))
    start, expected = tmp_path / "tuned", [BIRDS]
    if way == "through a package":
        write_package(start, tmp_path / "shop", CardOptions(license="cc-by-nc-4.0"), "shop")
        start, expected = tmp_path / "shop", [SHOP, BIRDS]
    captioner.train(None, tmp_path / "again", (*options, f"train.init_from={start}"))
    module = packaged(tmp_path / "again", tmp_path / "last", "last")
    assert base_models(module) == expected
    card = (module / "card.md").read_text()
    for base in expected:
        assert f"{base['name']} (license: {base['license']}; terms: {base['terms'] or 'not stated'})" in card
    assert "The licenses and terms of every model named here apply too." in card


def test_licenses_and_terms_follow_the_parameters_on_every_way(
    restricted: Path, small: tuple[str, ...], tmp_path: Path
) -> None:
    """Fine-tuned, resumed, copied out of the run, fine-tuned again, exported, packaged under a license."""
    onnx = pytest.importorskip("onnx")
    captioner.train(None, tmp_path / "tuned", (*small, "train.max_steps=1", f"train.init_from={restricted}"))
    for _ in resume(tmp_path / "tuned", ["train.max_steps=2"]):
        pass
    copy = Path(shutil.copyfile(tmp_path / "tuned" / "last.h5", tmp_path / "copy.h5"))
    captioner.train(None, tmp_path / "again", (*small, "train.max_steps=1", f"train.init_from={copy}"))
    for file in export_onnx(open_run(tmp_path / "again"), tmp_path / "graphs"):
        (metadata,) = onnx.load(file).metadata_props
        assert json.loads(metadata.value)["base_models"] == [BIRDS]
    written = write_package(tmp_path / "again", tmp_path / "last", CardOptions(license="mit"), "last")
    assert base_models(tmp_path / "last" / "captioner_last") == [BIRDS]
    assert written.notes[-1] == (
        f"made from birds (license: other; terms: {TERMS}): their licenses and terms apply too, and "
        "the card lists them; check that the license of this package, mit, permits no more than they do"
    )


def test_a_package_of_a_package_keeps_its_license_and_terms(restricted: Path, tmp_path: Path) -> None:
    same = read_info(packaged(restricted, tmp_path / "same", version="1.0.1"))
    assert (same.license, same.terms, same.base_models) == ("other", TERMS, ()), "a new version of the same model"
    written = write_package(restricted, tmp_path / "other", CardOptions(license="mit"), "birds")
    assert (written.info.license, written.info.terms) == ("mit", TERMS)
    assert base_models(tmp_path / "other" / "captioner_birds") == [BIRDS]
    assert "check that the license of this package, mit, permits no more" in written.notes[-1]
    again = packaged(tmp_path / "other", tmp_path / "again", "again")
    assert base_models(again) == [{**BIRDS, "license": "mit"}, BIRDS]


def test_a_chain_of_models_that_is_too_long_is_an_error(restricted: Path, tmp_path: Path) -> None:
    info = restricted / "captioner_birds" / INFO
    chain = [{**SHOP, "name": f"shop-{number}"} for number in range(20)]
    info.write_text(json.dumps({**json.loads(info.read_text()), "base_models": chain}))
    with pytest.raises(CheckpointError, match="expected a model made from at most 20 model packages, got 21: birds, "):
        packaged(restricted, tmp_path / "last", "last")


DAMAGED: list[Any] = [
    *(None, "birds", {}, ["birds"], [{"name": "birds"}], [BIRDS, {**BIRDS, "license": 1}]),
    *([{**BIRDS, "name": "two\nlines"}], [{**BIRDS, "license": "x), cats (license: mit"}]),
    *([{**BIRDS, "license": "m" * 62}], [BIRDS] * 21),
    *([{**BIRDS, "terms": None}], [{**BIRDS, "terms": "two\nlines"}], [{**BIRDS, "terms": "t" * 2001}]),
]


def test_damaged_base_models_of_a_package_are_not_lost(tiny_run: Path, tmp_path: Path) -> None:
    info = packaged(tiny_run, tmp_path / "model") / INFO
    values = json.loads(info.read_text())
    for damaged in DAMAGED:
        info.write_text(json.dumps({**values, "base_models": damaged}))
        with pytest.raises(
            CheckpointError, match=r"model\.json: base_models: expected a list of at most 20 models with "
        ):
            read_info(info.parent)
    del values["base_models"], values["terms"]
    info.write_text(json.dumps(values))  # as older versions wrote it
    assert (read_info(info.parent).base_models, read_info(info.parent).terms) == ((), "")


def test_the_shipped_model_states_its_terms_and_how_it_was_made() -> None:
    folder = Path(__file__).parents[2] / "models" / "flickr8k"
    info, card = read_info(folder / "captioner_flickr8k"), read_card(folder / "captioner_flickr8k")
    assert (folder / "README.md").read_text() == card
    assert (info.license, info.terms[-31:]) == ("other", "for research and education only")
    assert f"license: {info.license}\n" in card
    assert f"\nTerms: {info.terms}\n" in card
    assert "The model was trained with rewards for captions that it sampled (self-critical training)." in card
