"""Write the ONNX model of a convolutional network, as a protocol buffer.

Source: onnx/onnx.proto of ONNX 1.18; protobuf.dev, Encoding: wire types 0 (varint) and 2 (length-delimited).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from captioner.arrays import Array

FLOAT = 1
OPSET, IR = 13, 7
REGIONS = "regions"
"""The output of a model made by captioner that is its regions."""

Fields = Iterable[tuple[int, Any]]


def message(fields: Fields) -> bytes:
    """Encode numbered fields: int as varint, str or bytes with its length, a sequence as repeated fields."""
    return b"".join(_field(number, value) for number, value in fields)


def _field(number: int, value: Any) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return _varint(number << 3 | 2) + _varint(len(value)) + value
    return b"".join(_field(number, item) for item in value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def tensor(name: str, array: Array) -> bytes:
    """Encode a float32 TensorProto."""
    raw = np.ascontiguousarray(array, "<f4").tobytes()
    return message([(1, array.shape), (2, FLOAT), (8, name), (9, raw)])


def node(operator: str, inputs: Sequence[str], output: str, **attributes: int | str | Sequence[int]) -> bytes:
    """Encode a NodeProto with one output."""
    return message([(1, inputs), (2, output), (4, operator), (5, [_attribute(*item) for item in attributes.items()])])


def _attribute(name: str, value: int | str | Sequence[int]) -> bytes:
    """Encode an AttributeProto; its fields i, s and ints have the types 2, 3 and 7."""
    number, kind = (3, 2) if isinstance(value, int) else (4, 3) if isinstance(value, str) else (8, 7)
    return message([(1, name), (number, value), (20, kind)])


def value_info(name: str, shape: Sequence[int | str]) -> bytes:
    """Encode a ValueInfoProto of a float32 tensor; a variable dimension has a name."""
    dimensions = [message([(2 if isinstance(d, str) else 1, d)]) for d in shape]
    return message([(1, name), (2, message([(1, message([(1, FLOAT), (2, message([(1, dimensions)]))]))]))])


def model(
    nodes: Sequence[bytes], weights: Mapping[str, Array], inputs: Sequence[bytes], outputs: Sequence[bytes]
) -> bytes:
    """Encode a ModelProto."""
    tensors = [tensor(name, array) for name, array in weights.items()]
    graph = message([(1, nodes), (2, "graph"), (5, tensors), (11, inputs), (12, outputs)])
    return message([(1, IR), (7, graph), (8, message([(1, ""), (2, OPSET)]))])
