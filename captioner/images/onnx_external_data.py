"""Detection of ONNX models with external data, which are refused before onnxruntime opens them.

A tensor with `data_location = EXTERNAL` refers to a file, which onnxruntime before 1.24 reads from any path, or to a
memory address. So all tensors of a model are checked: in graphs, subgraphs of nodes, functions and sparse tensors. An
ambiguous protocol buffer, which two parsers may read differently, is refused too.

Source: onnx/onnx.proto of ONNX 1.18; protobuf.dev, Encoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from captioner.errors import DataError
from captioner.printable import printable

MESSAGES: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
"""For each message that can contain a tensor, the fields that lead to one and their message type."""
NAME, EXTERNAL_DATA, DATA_LOCATION = 8, 13, 14
"""Fields of a tensor."""
MAX_DEPTH = 100
"""Maximum nesting of messages in protocol buffers."""
MAX_FIELDS = 4_000_000
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
FLATBUFFER = b"ORTM"
"""Bytes 4 to 8 of a file in onnxruntime's format, which supports external data too."""


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
            if kind == "tensor":
                seen += _check_tensor(view, start, end, name)
                continue
            for number, wire, first, last in _fields(view, start, end):
                seen += 1
                if number in MESSAGES[kind] and wire == BYTES:
                    pending.append((MESSAGES[kind][number], first, last, depth + 1))
                if seen > MAX_FIELDS:
                    raise _MalformedError(f"more than {MAX_FIELDS:,} fields")
    except _MalformedError as problem:
        raise DataError(f"{name}: expected an ONNX model, got a damaged or other file: {problem}") from None


def _check_tensor(view: memoryview, start: int, end: int, name: str) -> int:
    """Return the number of fields of a tensor. Raises: DataError if it has external data."""
    label, external, seen = "", False, 0
    for number, wire, first, last in _fields(view, start, end):
        seen += 1
        if number == NAME and wire == BYTES:
            label = bytes(view[first : min(last, first + 200)]).decode(errors="replace")
        stored_here = number == DATA_LOCATION and wire == VARINT and not any(b & 0x7F for b in view[first:last])
        external |= number in (EXTERNAL_DATA, DATA_LOCATION) and not stored_here
        if seen > MAX_FIELDS:
            raise _MalformedError(f"more than {MAX_FIELDS:,} fields")
    if external:
        raise DataError(
            f"{name}: expected an ONNX model with all weights in this file, got external data for the tensor "
            f"'{printable(label, 80)}'; save it again as one file (onnx.save without external data)"
        )
    return seen


def _fields(view: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield the fields of a message: number, wire type, start and end of the value."""
    at = start
    while at < end:
        tag, at = _varint(view, at, end, limit=5)
        number, wire, first = tag >> 3, tag & 7, at
        if not number or tag >= 1 << 32:
            raise _MalformedError(f"byte {first:,}: no field has this number")
        if wire == VARINT:
            _, at = _varint(view, at, end, limit=10)
        elif wire == BYTES:
            size, first = _varint(view, at, end, limit=5)
            at = first + size
        elif wire in (FIXED64, FIXED32):
            at += 8 if wire == FIXED64 else 4
        else:
            raise _MalformedError(f"byte {first:,}: wire type {wire} is not used by ONNX")
        if at > end:
            raise _MalformedError(f"byte {first:,}: a field is longer than its message")
        yield number, wire, first, at


def _varint(view: memoryview, at: int, end: int, limit: int) -> tuple[int, int]:
    """Return a varint of at most `limit` bytes and the position after it."""
    value = 0
    for place in range(at, min(end, at + limit)):
        byte = view[place]
        value |= (byte & 0x7F) << 7 * (place - at)
        if byte < 0x80:
            return value, place + 1
    raise _MalformedError(f"byte {at:,}: a varint without end")
