"""The example of docs/export.md computes the log-probabilities of captioner."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_models import images, random_model

from captioner.export.tensors import export_safetensors

PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
(EXAMPLE,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


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
