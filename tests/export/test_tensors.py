"""Tensor files: names, shapes and content."""

import json
from pathlib import Path

import numpy as np
import pytest
from random_models import FEATURE, WORDS, every_kind, random_model, random_run

from captioner.errors import DataError, UsageError
from captioner.export.tensors import GATE_ORDER, export_safetensors, to_tensors
from captioner.inference.load import open_run
from captioner.layers import CELLS

safe_open = pytest.importorskip("safetensors").safe_open
safetensors = pytest.importorskip("safetensors.numpy")


@every_kind
def test_the_file_has_the_tensors_of_the_model(cell: str, image: str, attention: str, tmp_path: Path) -> None:
    restored = open_run(random_run(tmp_path / "run", cell, image, attention))
    (file,) = export_safetensors(restored, tmp_path / "tensors")
    tensors, loaded = to_tensors(restored.model), safetensors.load_file(file)
    assert loaded.keys() == tensors.keys()
    for name, array in tensors.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)


@pytest.mark.parametrize("cell", CELLS)
def test_names_and_shapes_are_those_of_pytorch(cell: str, tmp_path: Path) -> None:
    tensors = to_tensors(random_model(tmp_path, cell, "every").model)
    assert tensors["rnn.weight_ih_l0"].shape == (CELLS[cell].gates * 7, 8)
    assert tensors["embed.weight"].shape == (len(WORDS), 4)
    assert tensors["feature_mean"].shape == (FEATURE,)


def test_gates_of_the_lstm_are_in_the_order_of_pytorch(tmp_path: Path) -> None:
    model = random_model(tmp_path).model
    i, f, o, g = np.split(model.params["Wh"], 4, axis=1)
    np.testing.assert_array_equal(to_tensors(model)["rnn.weight_hh_l0"], np.concatenate([i, f, g, o], axis=1).T)
    assert GATE_ORDER.keys() == CELLS.keys()


def test_float16_halves_the_file(tmp_path: Path) -> None:
    run = random_run(tmp_path / "run", overrides=["model.hidden_dim=64"])
    files = [export_safetensors(open_run(run), tmp_path / str(dtype), dtype)[0] for dtype in (None, "float16")]
    large, small = (file.stat().st_size for file in files)
    assert small < 0.6 * large
    full, half = map(safetensors.load_file, files)
    for name, array in full.items():
        expected = array if name.endswith(("_mean", "_std")) else array.astype(np.float16)
        np.testing.assert_array_equal(half[name], expected)


def test_float64_parameters_are_kept(tmp_path: Path) -> None:
    run = random_run(tmp_path / "run", overrides=["model.dtype=float64", "data.standardize=false"])
    (file,) = export_safetensors(open_run(run), tmp_path / "a")
    tensors = safetensors.load_file(file)
    assert tensors["embed.weight"].dtype == np.float64
    assert not tensors["feature_mean"].any()


def test_too_large_a_parameter_for_float16_is_an_error(tmp_path: Path) -> None:
    restored = random_model(tmp_path)
    restored.model.params["b_vocab"][3] = 1e6
    with pytest.raises(DataError, match=r"output\.bias: a parameter is too large for float16: 1e\+06"):
        export_safetensors(restored, tmp_path / "a", "float16")
    assert not (tmp_path / "a").exists()


def test_files_contain_options_and_no_path(tmp_path: Path) -> None:
    options = ["data.source=prepared", "data.root=private/photos.h5", "decode.suppress_words=w1, 猫"]
    run = random_run(tmp_path / "private", overrides=options)
    (file,) = export_safetensors(open_run(run, ["decode.max_length=9"]), tmp_path / "tensors")
    for private in ("photos", "private", "a machine", str(tmp_path)):
        assert private.encode() not in file.read_bytes()
    with safe_open(file, "np") as opened:
        metadata = json.loads(opened.metadata()["captioner"])
    assert (metadata["format_version"], metadata["config"]["model"]["hidden_dim"]) == (1, 7)
    decode = metadata["config"]["decode"]
    assert (decode["max_length"], decode["suppress_words"]) == (9, "w1, 猫")
    assert metadata["config"]["data"]["root"] == "DATA_SET"


def test_an_existing_file_needs_overwrite(tmp_path: Path) -> None:
    restored, file = random_model(tmp_path), tmp_path / "a"
    export_safetensors(restored, file)
    with pytest.raises(UsageError, match="exists already"):
        export_safetensors(restored, file)
    export_safetensors(restored, file, overwrite=True)
    other = tmp_path / "other"
    for metadata in (None, {"format": "pt"}):
        safetensors.save_file({"weight": np.zeros(3)}, other, metadata)
        with pytest.raises(UsageError, match="other: expected a file from `captioner export` to replace"):
            export_safetensors(restored, other, overwrite=True)
