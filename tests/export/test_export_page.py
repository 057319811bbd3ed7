"""The examples of docs/export.md compute what captioner computes."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_models import every_kind, images, random_model, shared

from captioner.data.vocabulary import join
from captioner.export.export_onnx import export_onnx
from captioner.export.tensors import export_safetensors
from captioner.inference.load import captioner_of, load, open_run

PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
GREEDY, PHOTO, SAMPLING, *MODULES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@every_kind
def test_the_onnxruntime_example_writes_greedy_captions(
    cell: str,
    image: str,
    attention: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    restored = random_model(tmp_path, cell, image, attention)
    export_onnx(restored, tmp_path / "scenes-onnx")
    features, regions = images(attention != "none")
    names: dict[str, Any] = {"features_of_images": features, "regions_of_images": regions}
    code = GREEDY.replace('np.ones((2, metadata["feature_dim"]), np.float32)', "features_of_images")
    regions_in_code = 'np.ones((2, math.prod(metadata["grid"]), metadata["region_dim"]), np.float32)'
    exec(code.replace(regions_in_code, "regions_of_images"), names)
    grids = None if regions is None else regions.reshape(len(regions), *restored.meta.grid, -1)
    expected = captioner_of(restored).caption(features=features, regions=grids)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "features of drawn"
    without_spaces = [line.rpartition(" ")[0].replace(" ", "") for line in lines[1:]]  # captioner joins 猫 without
    assert without_spaces == [caption.text.replace(" ", "") for caption in expected]
    np.testing.assert_allclose(names["log_probs"], [caption.log_prob for caption in expected], atol=1e-4)
    assert len(GREEDY.splitlines()) <= 25
    exec(SAMPLING, names)
    assert len(capsys.readouterr().out.splitlines()) == 10


def test_the_example_encodes_a_photograph_for_a_graph_with_attention(
    attention_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    pillow = pytest.importorskip("PIL.Image")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "birds").symlink_to(attention_run)
    pillow.new("RGB", (40, 30), "red").save("new.png")
    names: dict[str, Any] = {}
    exec(PHOTO.replace("new.jpg", "new.png"), names)
    files = export_onnx(open_run(attention_run), tmp_path / "graphs")
    ((ids,), (log_prob,)) = onnxruntime.InferenceSession(files[2]).run(None, names["photo"])
    model = load(attention_run, ["decode.method=beam", "decode.beam_width=1"])
    with pytest.warns(UserWarning, match="was trained on generated scenes"):
        expected = model.caption("new.png")
    assert join(model.loaded.vocab.decode(ids.tolist())) == expected.text
    assert log_prob == pytest.approx(expected.log_prob, abs=1e-4)


@pytest.mark.parametrize("standardize", ["true", "false"])
@every_kind
def test_the_pytorch_module_computes_the_same_log_probabilities(
    cell: str, image: str, attention: str, standardize: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)
    restored = random_model(tmp_path, cell, image, attention, overrides=[f"data.standardize={standardize}"])
    export_safetensors(restored, tmp_path / "scenes.safetensors")
    names: dict[str, Any] = {}
    for block in MODULES:
        exec(block, names)
    features, regions = images(attention != "none")
    features, regions = features / 5, None if regions is None else regions / 5
    words = np.random.default_rng(3).integers(0, len(restored.vocab), (len(features), 6))
    tensors = (torch.tensor(array) for array in (features, words, regions) if array is not None)
    with torch.no_grad():
        got = names["model"](*tensors).numpy()
    state = restored.model.start(features, shared(regions))
    for t in range(words.shape[1]):
        log_probs, state = restored.model.step(words[:, t], state)
        np.testing.assert_allclose(got[:, t], log_probs, atol=1e-5)
