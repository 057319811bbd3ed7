"""Protocol-buffer encoding of ONNX: write the model of a convolutional network, and refuse models with external data.

A tensor with `data_location = EXTERNAL` refers to a file, which onnxruntime before 1.24 reads from any path, or to a
memory address. So all tensors of a model are checked before it is opened: in graphs, subgraphs of nodes, functions and
sparse tensors. An ambiguous protocol buffer, which two parsers may read differently, is refused too.

Source: onnx/onnx.proto of ONNX 1.18; protobuf.dev, Encoding: wire types 0 (varint), 2 (length-delimited), 5 (float).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from captioner.arrays import Array
from captioner.errors import DataError, printable

FLOAT = 1
OPSET, IR = 13, 7
MESSAGES: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
"""For each message that can contain a tensor, the fields that lead to one and their message type."""
NAME, EXTERNAL_DATA, DATA_LOCATION = 8, 13, 14
"""Fields of a tensor."""
MAX_DEPTH = 100
"""Maximum nesting of messages in protocol buffers."""
MAX_FIELDS = 4_000_000
VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
FLATBUFFER = b"ORTM"
"""Bytes 4 to 8 of a file in onnxruntime's format, which supports external data too."""

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
    nodes: Sequence[bytes],
    weights: Mapping[str, Array],
    inputs: Sequence[bytes],
    outputs: Sequence[bytes],
    metadata: Mapping[str, str],
) -> bytes:
    """Encode a ModelProto."""
    tensors = [tensor(name, array) for name, array in weights.items()]
    graph = message([(1, nodes), (2, "graph"), (5, tensors), (11, inputs), (12, outputs)])
    properties = [message([(1, key), (2, value)]) for key, value in metadata.items()]
    return message([(1, IR), (7, graph), (8, message([(1, ""), (2, OPSET)])), (14, properties)])


class _MalformedError(Exception):
    """Not a protocol buffer, or an ambiguous one."""


def refuse_external_data(model: bytes, name: str) -> None:
    """Raises: DataError if a model is malformed or refers to external data."""
    if model[4:8] == FLATBUFFER:
        raise DataError(f"{name}: expected an ONNX model, got one in the format of onnxruntime; name the .onnx file")
    view, seen = memoryview(model), 0
    pending = [("model", 0, len(model), 0)]
    try:
        while pending:
            kind, start, end, depth = pending.pop()
            if depth > MAX_DEPTH:
                raise _MalformedError(f"messages nested deeper than {MAX_DEPTH}")
            label, is_external = "", False
            for number, wire, first, last in _read_fields(view, start, end):
                seen += 1
                if seen > MAX_FIELDS:
                    raise _MalformedError(f"more than {MAX_FIELDS:,} fields")
                if kind != "tensor":
                    if number in MESSAGES[kind] and wire == LENGTH_DELIMITED:
                        pending.append((MESSAGES[kind][number], first, last, depth + 1))
                elif number == NAME and wire == LENGTH_DELIMITED:
                    label = bytes(view[first : min(last, first + 200)]).decode(errors="replace")
                elif number == DATA_LOCATION and wire == VARINT:
                    is_external |= any(byte & 0x7F for byte in view[first:last])
                else:
                    is_external |= number in (EXTERNAL_DATA, DATA_LOCATION)
            if is_external:
                raise DataError(
                    f"{name}: expected an ONNX model with all weights in this file, got external data for the tensor "
                    f"'{printable(label, 80)}'; save it again as one file (onnx.save without external data)"
                )
    except _MalformedError as problem:
        raise DataError(f"{name}: expected an ONNX model, got a damaged or other file: {problem}") from None


def _read_fields(view: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield the fields of a message: number, wire type, start and end of the value."""
    at = start
    while at < end:
        tag, at = _read_varint(view, at, end, limit=5)
        number, wire, first = tag >> 3, tag & 7, at
        if not number or tag >= 1 << 32:
            raise _MalformedError(f"byte {first:,}: no field has this number")
        if wire == VARINT:
            _, at = _read_varint(view, at, end, limit=10)
        elif wire == LENGTH_DELIMITED:
            size, first = _read_varint(view, at, end, limit=5)
            at = first + size
        elif wire in (FIXED64, FIXED32):
            at += 8 if wire == FIXED64 else 4
        else:
            raise _MalformedError(f"byte {first:,}: wire type {wire} is not used by ONNX")
        if at > end:
            raise _MalformedError(f"byte {first:,}: a field is longer than its message")
        yield number, wire, first, at


def _read_varint(view: memoryview, at: int, end: int, limit: int) -> tuple[int, int]:
    """Return a varint of at most `limit` bytes and the position after it."""
    value = 0
    for place in range(at, min(end, at + limit)):
        byte = view[place]
        value |= (byte & 0x7F) << 7 * (place - at)
        if byte < 0x80:
            return value, place + 1
    raise _MalformedError(f"byte {at:,}: a varint without end")
