"""ONNX models for tests: external data in every field that can contain a tensor, and models that never end."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from captioner.images.protobuf import message, node, value_info

SHAPE = ("N", 3, 4, 4)
POOL = [node("GlobalAveragePool", ["x"], "p"), node("Flatten", ["p"], "f")]


def model(fields: list[tuple[int, Any]], beside: list[tuple[int, Any]] | None = None, output: str = "f") -> bytes:
    """Build a valid model that averages pixels, with extra fields in its graph and next to the graph."""
    ends = [(11, value_info("x", SHAPE)), (12, value_info(output, ("N", 3)))]
    settings = [message([(1, key), (2, text)]) for key, text in {"mean": "0", "scale": "1"}.items()]
    graph = message([(1, POOL), (2, "graph"), *fields, *ends])
    return message([(1, 8), (7, graph), (8, message([(1, ""), (2, 17)])), (14, settings), *(beside or [])])


def attributed(*fields: tuple[int, Any]) -> bytes:
    """Build a node with one attribute."""
    return message([(2, "c"), (4, "Constant"), (5, message([(1, "value"), *fields]))])


def nested(depth: int, number: int, tensor: bytes) -> bytes:
    """Build a node with a subgraph attribute, as If and Loop have, nested `depth` times."""
    graph = message([(2, "inner"), (5, tensor)])
    for _ in range(depth):
        graph = message([(1, attributed((number, graph))), (2, "outer")])
    return attributed((number, graph))


PLACES: Mapping[str, Callable[[bytes], bytes]] = {
    "an initializer": lambda tensor: model([(5, tensor)]),
    "a tensor of an attribute": lambda tensor: model([(1, attributed((5, tensor)))]),
    "tensors of an attribute": lambda tensor: model([(1, attributed((10, [tensor, tensor])))]),
    "a subgraph": lambda tensor: model([(1, nested(0, 6, tensor))]),
    "subgraphs": lambda tensor: model([(1, nested(0, 11, tensor))]),
    "a deep subgraph": lambda tensor: model([(1, nested(9, 6, tensor))]),
    "values of a sparse initializer": lambda tensor: model([(15, message([(1, tensor)]))]),
    "indices of a sparse initializer": lambda tensor: model([(15, message([(2, tensor)]))]),
    "a sparse tensor of an attribute": lambda tensor: model([(1, attributed((22, message([(1, tensor)]))))]),
    "sparse tensors of an attribute": lambda tensor: model([(1, attributed((23, message([(2, tensor)]))))]),
    "a function": lambda tensor: model([], [(25, message([(1, "F"), (7, attributed((5, tensor)))]))]),
    "a default in a function": lambda tensor: model([], [(25, message([(11, message([(1, "a"), (5, tensor)]))]))]),
    "a subgraph in a function": lambda tensor: model([], [(25, message([(7, nested(2, 6, tensor))]))]),
    "a graph of training": lambda tensor: model([], [(20, message([(1, message([(5, tensor)]))]))]),
    "a second graph": lambda tensor: model([], [(7, message([(5, tensor)]))]),
    "behind unknown fields": lambda tensor: model([(99, "x"), (100, 1), (5, tensor)], [(1000, "y")]),
}
"""Fields that can contain a tensor."""


def entries(location: str) -> tuple[int, list[bytes]]:
    pairs = {"location": location, "offset": "0", "length": "36"}
    return 13, [message([(1, key), (2, value)]) for key, value in pairs.items()]


def tensor(*fields: tuple[int, Any], raw: bytes = b"") -> bytes:
    return message([(1, [3, 3]), (2, 1), (8, "w"), *fields]) + raw


TRICKS: Mapping[str, Callable[[str], bytes]] = {
    "an absolute path": lambda path: tensor(entries(path), (14, 1)),
    "a relative path": lambda path: tensor(entries(Path(path).name), (14, 1)),
    "a path out of the folder": lambda path: tensor(entries("../" * 20 + path), (14, 1)),
    "an address in memory": lambda path: tensor(entries("*/_ORT_MEM_ADDR_/*"), (14, 1)),
    "no entries": lambda path: tensor((14, 1)),
    "entries alone": lambda path: tensor(entries(path)),
    "an unknown location": lambda path: tensor(entries(path), (14, 7)),
    "a location of 33 bits": lambda path: tensor(entries(path), (14, (1 << 32) + 1)),
    "a location in ten bytes": lambda path: tensor(entries(path), raw=b"\x70\x81" + b"\x80" * 8 + b"\x00"),
    "here and then there": lambda path: tensor((14, 0), entries(path), (14, 1)),
    "there and then here": lambda path: tensor(entries(path), (14, 1), (14, 0)),
    "here, without entries": lambda path: tensor((14, 1), (14, 0)),
    "a long tag": lambda path: tensor(entries(path), raw=b"\xf0\x80\x80\x80\x00\x01"),
    "a tag of 35 bits": lambda path: tensor(entries(path), raw=b"\xf0\x80\x80\x80\x10\x01"),
    "a location of four bytes": lambda path: tensor(raw=b"\x75\x01\x00\x00\x00"),
    "inside a group": lambda path: tensor(raw=b"\xfb\x01\x70\x01\xfc\x01"),
    "before a field that is cut": lambda path: tensor(entries(path), (14, 1), raw=b"\x4a\x7f"),
}
"""Encodings of an external data reference, including ones that parsers may read differently."""


INT64, BOOL = 7, 9


def scalar(name: str, kind: int) -> bytes:
    """Encode a ValueInfoProto of a scalar."""
    return message([(1, name), (2, message([(1, message([(1, kind), (2, b"")]))]))])


def constant(name: str, kind: int, raw: bytes) -> bytes:
    """Encode a scalar TensorProto."""
    return message([(2, kind), (8, name), (9, raw)])


def loop(start: str, body: bytes) -> bytes:
    """Encode a Loop node from f to g."""
    return message([(1, ["", start, "f"]), (2, "g"), (4, "Loop"), (5, message([(1, "body"), (6, body), (20, 5)]))])


def endless_model(above: float | None = None) -> bytes:
    """Build a model that averages the pixels, and then repeats the identity for ever.

    It ends at once if the largest average is not above `above`.
    """
    body = message(
        [
            (1, [node("Identity", ["again"], "go_on"), node("Identity", ["kept"], "same")]),
            (2, "body"),
            (11, [scalar("turn", INT64), scalar("again", BOOL), value_info("kept", ("N", 3))]),
            (12, [scalar("go_on", BOOL), value_info("same", ("N", 3))]),
        ]
    )
    tensors: list[bytes] = []
    first: list[bytes] = []
    if above is None:
        tensors.append(constant("start", BOOL, b"\1"))
    else:
        tensors.append(constant("limit", 1, struct.pack("<f", above)))
        first = [node("ReduceMax", ["f"], "most", keepdims=0), node("Greater", ["most", "limit"], "start")]
    nodes = [*first, loop("start", body)]
    return model([(1, nodes), (5, tensors)], output="g")
