"""The examples of docs/export.md compute what captioner computes."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_models import images, random_model

from captioner.export.export_onnx import export_onnx
from captioner.export.safetensors_file import export_safetensors
from captioner.inference.load import captioner_of
from captioner.layers import CELLS
from captioner.model.image_input import IMAGE_INPUTS

PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
GREEDY, _, SAMPLING, MODULE = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("image", IMAGE_INPUTS)
@pytest.mark.parametrize("cell", CELLS)
def test_the_onnxruntime_example_writes_greedy_captions(
    cell: str, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    restored = random_model(tmp_path, cell, image)
    export_onnx(restored, tmp_path / "scenes-onnx")
    features = images(False)[0]
    names: dict[str, Any] = {"features_of_images": features}
    exec(GREEDY.replace('np.ones((2, metadata["feature_dim"]), np.float32)', "features_of_images"), names)
    expected = captioner_of(restored).caption(features=features)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "features of drawn"
    without_spaces = [line.rpartition(" ")[0].replace(" ", "") for line in lines[1:]]  # captioner joins 猫 without
    assert without_spaces == [caption.text.replace(" ", "") for caption in expected]
    np.testing.assert_allclose(names["log_probs"], [caption.log_prob for caption in expected], atol=1e-4)
    assert len(GREEDY.splitlines()) <= 20
    exec(SAMPLING, names)
    assert len(capsys.readouterr().out.splitlines()) == 10


@pytest.mark.parametrize("standardize", ["true", "false"])
@pytest.mark.parametrize("image", IMAGE_INPUTS)
@pytest.mark.parametrize("cell", CELLS)
def test_the_pytorch_module_computes_the_same_log_probabilities(
    cell: str, image: str, standardize: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)
    restored = random_model(tmp_path, cell, image, overrides=[f"data.standardize={standardize}"])
    export_safetensors(restored, tmp_path / "scenes.safetensors")
    names: dict[str, Any] = {}
    exec(MODULE, names)
    features = images(False)[0] / 5
    words = np.random.default_rng(3).integers(0, len(restored.vocab), (len(features), 6))
    with torch.no_grad():
        got = names["model"](torch.tensor(features), torch.tensor(words)).numpy()
    state = restored.model.start(features)
    for t in range(words.shape[1]):
        log_probs, state = restored.model.step(words[:, t], state)
        np.testing.assert_allclose(got[:, t], log_probs, atol=1e-5)
