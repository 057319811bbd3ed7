"""Tensor files: names, shapes, and the round trip of every kind of model."""

import json
from pathlib import Path

import numpy as np
import pytest
from random_models import FEATURE, WORDS, every_kind, images, random_model, random_run

from captioner.errors import DataError, UsageError
from captioner.export.safetensors_file import export_safetensors, import_safetensors
from captioner.export.tensor_names import GATE_ORDER, to_params, to_tensors
from captioner.inference.load import load, open_run
from captioner.layers import CELLS
from captioner.storage import checkpoint

safe_open = pytest.importorskip("safetensors").safe_open
safetensors = pytest.importorskip("safetensors.numpy")


@every_kind
def test_an_imported_model_is_the_exported_one(cell: str, image: str, attention: str, tmp_path: Path) -> None:
    run = random_run(tmp_path / "run", cell, image, attention)
    export_safetensors(open_run(run), tmp_path / "tensors")
    import_safetensors(tmp_path / "tensors", tmp_path / "imported")
    before, after = (checkpoint.load(folder / "best.h5") for folder in (run, tmp_path / "imported"))
    for group, arrays in before.groups().items():
        assert after.groups()[group].keys() == arrays.keys()
        for name, array in arrays.items():
            assert after.groups()[group][name].dtype == array.dtype
            np.testing.assert_array_equal(after.groups()[group][name], array)
    assert (after.meta.words, after.meta.encoder, after.meta.step) == (list(WORDS), "drawn", 7)
    features, regions = images(attention != "none")
    grid = None if regions is None else regions.reshape(len(regions), 2, 2, -1)
    captions = [
        [(caption.text, caption.log_prob) for caption in load(path).caption(features=features, regions=grid)]
        for path in (run, tmp_path / "imported")
    ]
    assert captions[0] == captions[1]
    assert any(text for text, _ in captions[0])


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


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_both_biases_are_added(cell: str, tmp_path: Path) -> None:
    model = random_model(tmp_path, cell).model
    tensors = to_tensors(model)
    half, large = tensors["rnn.bias_ih_l0"] / 2, np.full_like(tensors["rnn.bias_ih_l0"], 3e38)
    halves = {**tensors, "rnn.bias_ih_l0": half, "rnn.bias_hh_l0": half}
    np.testing.assert_allclose(to_params(halves, model.sizes)["b"], to_params(tensors, model.sizes)["b"])
    with pytest.raises(DataError, match=r"rnn\.bias_ih_l0: expected a finite sum with rnn\.bias_hh_l0"):
        to_params({**tensors, "rnn.bias_ih_l0": large, "rnn.bias_hh_l0": large}, model.sizes)


def test_a_bias_inside_the_reset_gate_is_an_error(tmp_path: Path) -> None:
    model = random_model(tmp_path, "gru").model
    tensors = to_tensors(model)
    second = np.zeros(21, np.float32)
    second[:14] = 1
    assert to_params({**tensors, "rnn.bias_hh_l0": second}, model.sizes)["b"][0] == model.params["b"][0] + 1
    second[14] = 1
    with pytest.raises(DataError, match="inside the reset gate"):
        to_params({**tensors, "rnn.bias_hh_l0": second}, model.sizes)


def test_float16_halves_the_file(tmp_path: Path) -> None:
    run = random_run(tmp_path / "run", overrides=["model.hidden_dim=64"])
    files = [export_safetensors(open_run(run), tmp_path / str(dtype), dtype)[0] for dtype in (None, "float16")]
    large, small = (file.stat().st_size for file in files)
    assert small < 0.6 * large
    import_safetensors(files[1], tmp_path / "small.h5")
    before, after = open_run(run).model, open_run(tmp_path / "small.h5").model
    assert after.dtype == np.float32
    for name in before.params:
        np.testing.assert_array_equal(after.params[name], before.params[name].astype(np.float16))
    assert before.standardizer is not None
    assert after.standardizer is not None
    np.testing.assert_array_equal(after.standardizer.mean, before.standardizer.mean)


def test_float64_parameters_are_kept(tmp_path: Path) -> None:
    run = random_run(tmp_path / "run", overrides=["model.dtype=float64", "data.standardize=false"])
    export_safetensors(open_run(run), tmp_path / "a")
    import_safetensors(tmp_path / "a", tmp_path / "b.h5")
    before, after = open_run(run).model, open_run(tmp_path / "b.h5").model
    assert after.standardizer is None
    np.testing.assert_array_equal(after.params["Wx"], before.params["Wx"])


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
    import_safetensors(file, tmp_path / "imported.h5")
    config = open_run(tmp_path / "imported.h5").config
    assert (config.decode.max_length, config.decode.suppress_words) == (9, "w1, 猫")
    assert config.data.root is not None
    assert config.data.root.name == "DATA_SET"
    with safe_open(file, "np") as opened:
        metadata = json.loads(opened.metadata()["captioner"])
    assert (metadata["format_version"], metadata["config"]["model"]["hidden_dim"]) == (1, 7)


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
    target = import_safetensors(file, tmp_path / "a.h5")
    with pytest.raises(UsageError, match="exists already"):
        import_safetensors(file, target)
    assert import_safetensors(file, target, overwrite=True) == target


def test_import_writes_into_a_new_folder_only(tmp_path: Path) -> None:
    restored, file = random_model(tmp_path), tmp_path / "a"
    export_safetensors(restored, file)
    folder = tmp_path / "folder"
    folder.mkdir()
    import_safetensors(file, folder)
    with pytest.raises(UsageError, match=r"best\.h5: exists already"):
        import_safetensors(file, folder)
    import_safetensors(file, folder, overwrite=True)
    (folder / "last.h5").write_text("")
    with pytest.raises(UsageError, match="got one with other files"):
        import_safetensors(file, folder, overwrite=True)
    with pytest.raises(UsageError, match="exists already"):
        import_safetensors(file, file)
    with pytest.raises(UsageError, match="folder not found"):
        import_safetensors(file, tmp_path / "missing" / "run.h5")
    assert import_safetensors(file, tmp_path / "new" / "run").exists()
