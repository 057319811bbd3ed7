"""Parameters with the names of PyTorch: the equations and the example of docs/export.md compute the same."""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_models import WORDS, every_kind, images, random_model, random_run

from captioner.captioning.load import open_run
from captioner.captioning.restore import Restored
from captioner.errors import UsageError
from captioner.files.checkpoint import Card
from captioner.model.pytorch import GATE_ORDER, TENSORS, to_tensors
from captioner.share import export_safetensors

safetensors = pytest.importorskip("safetensors")  # of the extra `export`
safetensors_numpy = pytest.importorskip("safetensors.numpy")
PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
(EXAMPLE,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def exported(restored: Restored, file: Path, **options: Any) -> Path:
    export_safetensors(restored, file, **options)
    return file


@pytest.mark.parametrize(every_kind.args[0], [kind for kind in every_kind.args[1] if kind.values[0] in TENSORS])
def test_the_file_has_the_tensors_of_the_model(cell: str, image: str, attention: str, tmp_path: Path) -> None:
    restored = open_run(random_run(tmp_path / "run", cell, image, attention))
    file = exported(restored, tmp_path / "tensors")
    tensors, loaded = to_tensors(restored.model), safetensors_numpy.load_file(file)
    assert loaded.keys() == tensors.keys()
    for name, array in tensors.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)


Step = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def lstm(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    i, f, g, o = np.split(a + b, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru(a: np.ndarray, b: np.ndarray, h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    (r, z, n), (r_h, z_h, n_h) = np.split(a, 3, axis=1), np.split(b, 3, axis=1)
    z = sigmoid(z + z_h)
    h = (1 - z) * np.tanh(n + sigmoid(r + r_h) * n_h) + z * h
    return h, h


EQUATIONS: Mapping[str, Step] = {"rnn": lambda a, b, h: (np.tanh(a + b),) * 2, "lstm": lstm, "gru": gru}
"""The equations in the documentation of PyTorch's layers: the next h, and c of an LSTM."""


@pytest.mark.parametrize("cell", GATE_ORDER)
def test_the_equations_of_pytorch_compute_the_same_log_probabilities(cell: str, tmp_path: Path) -> None:
    model = random_model(tmp_path, cell, "every").model
    tensors, (features, _) = to_tensors(model), images(attends=False)
    image = (features - tensors["feature_mean"]) / tensors["feature_std"]
    h = image @ tensors["image_to_hidden.weight"].T + tensors["image_to_hidden.bias"]
    image_input = image @ tensors["image_to_input.weight"].T + tensors["image_to_input.bias"]
    carried = np.zeros_like(h) if cell == "lstm" else h
    words, state = np.arange(len(features)) % len(WORDS), model.start(features)
    for _ in range(3):
        log_probs, state = model.step(words, state)
        x = np.concatenate([tensors["embed.weight"][words], image_input], axis=1)
        a = x @ tensors["rnn.weight_ih_l0"].T + tensors["rnn.bias_ih_l0"]
        b = h @ tensors["rnn.weight_hh_l0"].T + tensors["rnn.bias_hh_l0"]
        h, carried = EQUATIONS[cell](a, b, carried)
        scores = h @ tensors["output.weight"].T + tensors["output.bias"]
        expected = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        np.testing.assert_allclose(log_probs, expected, atol=1e-4)
        words = log_probs.argmax(axis=1)


def test_float64_parameters_are_kept(tmp_path: Path) -> None:
    run = random_run(tmp_path / "run", overrides=["model.dtype=float64", "data.standardize=false"])
    file = exported(open_run(run), tmp_path / "a")
    tensors = safetensors_numpy.load_file(file)
    assert tensors["embed.weight"].dtype == np.float64
    assert not tensors["feature_mean"].any()


def test_the_metadata_contain_options_and_the_card(tmp_path: Path) -> None:
    restored = open_run(random_run(tmp_path / "run"), {"decode.max_length": 9, "decode.suppress_words": "w1, 猫"})
    card = Card(license="mit", made_from="birds.h5 (license: other; terms: for research)")
    meta = dataclasses.replace(restored.meta, card=card)
    file = exported(dataclasses.replace(restored, meta=meta), tmp_path / "tensors")
    with safetensors.safe_open(file, "np") as opened:
        metadata = json.loads(opened.metadata()["captioner"])
    assert metadata["config"]["model"]["hidden_dim"] == 7
    assert metadata["card"] == vars(card)
    decode = metadata["config"]["decode"]
    assert (decode["max_length"], decode["suppress_words"]) == (9, "w1, 猫")


def test_an_existing_file_needs_overwrite(tmp_path: Path) -> None:
    restored, file = random_model(tmp_path), tmp_path / "a"
    export_safetensors(restored, file)
    with pytest.raises(UsageError, match="exists already"):
        export_safetensors(restored, file)
    export_safetensors(restored, file, overwrite=True)
    other = tmp_path / "other"
    for metadata in (None, {"format": "pt"}):
        safetensors_numpy.save_file({"weight": np.zeros(3)}, other, metadata)
        with pytest.raises(UsageError, match="other: expected a file from `captioner export` to replace"):
            export_safetensors(restored, other, overwrite=True)


@pytest.mark.parametrize(
    ("decoder", "option"),
    [
        ("lstm", "data.standardize=true"),
        ("lstm", "data.standardize=false"),
        ("transformer", "model.norm=pre"),
        ("transformer", "model.norm=post"),
        ("transformer", "model.activation=relu"),
    ],
)
def test_the_pytorch_module_computes_the_same_log_probabilities(
    decoder: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    restored = random_model(tmp_path, decoder, overrides=[option])
    export_safetensors(restored, tmp_path / "scenes.safetensors")
    names: dict[str, Any] = {}
    exec(EXAMPLE, names)
    features = images(attends=False)[0] / 5
    words = np.random.default_rng(3).integers(0, len(restored.vocab), (len(features), 6))
    with torch.no_grad():
        got = names["log_probs"](torch.tensor(features), torch.tensor(words)).numpy()
    state = restored.model.start(features, None)
    for t in range(words.shape[1]):
        log_probs, state = restored.model.step(words[:, t], state)
        np.testing.assert_allclose(got[:, t], log_probs, atol=1e-5)
