"""ONNX models of a captioner: the graphs with their weights and metadata."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

import captioner
from captioner.arrays import Params
from captioner.errors import CaptionerError
from captioner.export.metadata import KEY
from captioner.export.onnx_greedy import Decoding, greedy_graph
from captioner.export.onnx_text import CELLS, DOMAIN, IR_VERSION, OPSET, Shape, start_graph, step_graph
from captioner.export.tensor_names import STATISTICS, to_tensors
from captioner.model.captioning_rnn import CaptioningRNN

if TYPE_CHECKING:
    from onnx import ModelProto

GRAPHS: Mapping[str, Callable[[Shape, Decoding], str]] = {
    "start": lambda shape, _: start_graph(shape),
    "step": lambda shape, _: step_graph(shape),
    "greedy": greedy_graph,
}
"""The graphs of a captioner."""
TYPES: Mapping[str, tuple[str, int]] = {"float32": ("float", 1), "float64": ("double", 11)}
"""The name of a type in ONNX's text syntax, and its number."""
LARGEST = (1 << 31) - 1
"""The maximum size of an ONNX file in bytes, as of every protobuf message."""


def build_model(name: str, model: CaptioningRNN, decoding: Decoding, metadata: str) -> ModelProto:
    """Build the ONNX model of a graph, with its weights.

    Raises: CaptionerError if it is too large for an ONNX file.
    """
    from onnx import checker, numpy_helper, parser

    text = GRAPHS[name](Shape(model.sizes, *TYPES[str(model.dtype)]), decoding)
    versions = f'"" : {OPSET}, "{DOMAIN}" : 1'
    cell = f'<domain: "{DOMAIN}", opset_import: ["" : {OPSET}]>{CELLS[model.sizes.cell]}'
    header = (
        f'<ir_version: {IR_VERSION}, opset_import: [{versions}], producer_name: "captioner", '
        f'producer_version: "{captioner.__version__}">'
    )
    built = parser.parse_model(f"{header}\n{text}\n{cell}")
    weights = _weights(model) | decoding.constants(model.sizes.vocab, model.dtype)
    used = [one for one in sorted(weights) if one in _inputs(built.graph)]
    if (size := sum(weights[one].nbytes for one in used) + len(metadata)) > LARGEST:
        raise CaptionerError(f"{name}.onnx: expected at most {LARGEST:,} bytes, got {size:,}; export safetensors")
    built.graph.initializer.extend(numpy_helper.from_array(weights[one], one) for one in used)
    built.metadata_props.add(key=KEY, value=metadata)
    checker.check_model(built, full_check=True)
    return built


def _weights(model: CaptioningRNN) -> Params:
    """Return the initializers that any graph may use."""
    p, D = model.params, model.sizes.wordvec
    tensors = to_tensors(model)
    statistics = {name: tensors[name].astype(model.dtype) for name in tensors if name.endswith(STATISTICS)}
    return {
        **p,
        **statistics,
        "Wx": p["Wx"][:D],
        "Wx_image": p["Wx"][D:],
        "root_of_keys": np.array(math.sqrt(model.sizes.attention_dim or 1), model.dtype),
        **{f"axis_{axis}": np.array([axis], np.int64) for axis in range(3)},
    }


def _inputs(graph: Any) -> set[str]:
    """Return the names of all inputs of the nodes of a graph, also within loops."""
    inner = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return {name for node in graph.node for name in node.input}.union(*map(_inputs, inner))
