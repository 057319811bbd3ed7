"""ONNX models for tests, and the error of one that cannot be opened."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from captioner.errors import CaptionerError, UsageError
from captioner.photos import protobuf
from captioner.photos.onnx import OnnxEncoder
from captioner.photos.protobuf import node, value_info

SIDE = 4
PLAIN = {"mean": "0", "scale": "1"}
PIXELS = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
PHOTO = Image.fromarray(PIXELS)
POOL = (node("GlobalAveragePool", ["x"], "p"), node("Flatten", ["p"], "f"))
AVERAGE = (node("ReduceMean", ["x"], "f", axes=[1, 2], keepdims=0),)
NCHW: tuple[int | str, ...] = ("N", 3, SIDE, SIDE)
NHWC: tuple[int | str, ...] = ("N", SIDE, SIDE, 3)


def model(
    nodes: Sequence[bytes] = POOL,
    shape: Sequence[int | str] = NCHW,
    outputs: Mapping[str, Sequence[int | str]] | None = None,
    weights: Mapping[str, Any] | None = None,
) -> bytes:
    value_infos = [value_info(name, dims) for name, dims in ({"f": ("N", 3)} if outputs is None else outputs).items()]
    return protobuf.model(nodes, weights or {}, [value_info("x", shape)], value_infos)


def features(content: bytes, photo: Image.Image = PHOTO, **options: str) -> Any:
    encoder = OnnxEncoder(content, "m.onnx", {**PLAIN, **options})
    got, regions = encoder.encode(encoder.prepare(photo))
    assert (got.dtype, got.shape, regions) == (np.float32, (encoder.width,), None)
    return got


def error_of(content: bytes, kind: type[CaptionerError] = UsageError, **options: str) -> str:
    with pytest.raises(kind) as caught:
        OnnxEncoder(content, "m.onnx", {**PLAIN, **options})
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 500
    return message.removeprefix("m.onnx: ")


TWO = {"p": ("N", 3, 1, 1), "f": ("N", 3)}
