"""ONNX models for tests, and the error of one that cannot be opened."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from captioner.errors import CaptionerError, UsageError
from captioner.photos.onnx import OnnxEncoder

SIDE = 4
PLAIN = {"mean": "0", "scale": "1"}
PIXELS = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
PHOTO = Image.fromarray(PIXELS)
OPSET, IR = 13, 7


def node(operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> Any:
    return helper.make_node(operator, inputs, [output], **attributes)


POOL = (node("GlobalAveragePool", ["x"], "p"), node("Flatten", ["p"], "f"))
AVERAGE = (node("ReduceMean", ["x"], "f", axes=[1, 2], keepdims=0),)
NCHW: tuple[int | str, ...] = ("N", 3, SIDE, SIDE)
NHWC: tuple[int | str, ...] = ("N", SIDE, SIDE, 3)


def proto(
    nodes: Sequence[Any] = POOL,
    shape: Sequence[int | str] = NCHW,
    outputs: Mapping[str, Sequence[int | str]] | None = None,
    weights: Mapping[str, Any] | None = None,
    inputs: Sequence[str] = ("x",),
    kinds: tuple[int, int] = (TensorProto.FLOAT, TensorProto.FLOAT),
) -> onnx.ModelProto:
    """A model; `kinds` are the types of the inputs and of the outputs."""
    shapes = {"f": ("N", 3)} if outputs is None else outputs
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, kinds[0], shape) for name in inputs],
        [helper.make_tensor_value_info(name, kinds[1], dims) for name, dims in shapes.items()],
        [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)


def model(*args: Any, **options: Any) -> bytes:
    """The bytes of `proto`."""
    return proto(*args, **options).SerializeToString()


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
