"""The EfficientNet-Lite networks without the classifier: 1,280 features per image.

Source: Tan and Le 2019, EfficientNet (arXiv 1905.11946); EfficientNet-Lite is the same without squeeze-and-excite, with
ReLU6, and with the same stem and head at all scales.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from captioner.arrays import Params
from captioner.errors import UsageError
from captioner.images.efficientnet_weights import NETWORKS, read_weights, weights_file
from captioner.images.onnx import REGIONS, OnnxEncoder
from captioner.images.protobuf import model, node, value_info

STRIDES = (1, 2, 2, 2, 1, 2, 1)
"""Stride of the first block per stage; widths and kernel sizes follow from the weights."""
REDUCTION = 32
"""Pixels of a side per region; also the smallest input side."""
LARGEST_SIDE = 1024
EPSILON = 1e-3
SETTINGS = {"mean": "127", "scale": "128", "layout": "nchw", "output": "features"}


def open_efficientnet(name: str, file: str, options: Mapping[str, str]) -> OnnxEncoder:
    """Open the encoder `efficientnet-lite0` or `efficientnet-lite2`.

    Raises: UsageError for an option, or missing weights; DataError for other weights.
    """
    network = NETWORKS[name]
    if unknown := options.keys() - {"size"}:
        raise UsageError(
            f"encoder {name}: option {min(unknown)}: unknown; expected size or mirror; use onnx:FILE for other models"
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
    return OnnxEncoder(content, name, {}, identity)


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
    return model(nodes, arrays, [image], [features, regions], SETTINGS)
