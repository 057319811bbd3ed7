"""Export a trained model as ONNX graphs with their weights and metadata."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import captioner
from captioner.arrays import Params
from captioner.errors import CaptionerError, UsageError
from captioner.export.onnx_graphs import DOMAIN, GRAPHS, IR_VERSION, OPSET, RECURRENT, Decoding, Parts, Shape
from captioner.export.onnx_transformer import TRANSFORMER
from captioner.export.tensors import KEY, STATISTICS, check_cell, convert, to_tensors, write_metadata
from captioner.files.atomic import write_file
from captioner.files.user_files import check_output, output_folder, read_start
from captioner.inference.decoder import build_constraints
from captioner.inference.restore import Restored
from captioner.model.captioning_model import CaptioningModel

if TYPE_CHECKING:
    from onnx import ModelProto

TYPES: Mapping[str, tuple[str, int]] = {"float32": ("float", 1), "float64": ("double", 11)}
"""The name of a type in ONNX's text syntax, and its number."""
PRODUCER = "captioner"
PARTS: Mapping[str, Parts] = {**RECURRENT, "transformer": TRANSFORMER}
"""The parts of the graphs of every decoder."""
LARGEST = (1 << 31) - 1
"""The maximum size of an ONNX file in bytes, as of every protobuf message."""


def export_onnx(restored: Restored, output: Path, dtype: str | None = None, overwrite: bool = False) -> list[Path]:
    """Write start.onnx, step.onnx and greedy.onnx into a folder; greedy.onnx has the decoding constraints of the model.

    Raises: UsageError when a file exists and `overwrite` is not set, or for options that the graphs do not have;
    CaptionerError when a file cannot be written.
    """
    files = {name: output / f"{name}.onnx" for name in GRAPHS}
    for file in files.values() if output.is_dir() else ():
        check_output(file, overwrite, "a graph from `captioner export`", _is_exported)
    if dtype == "float16":
        raise UsageError("--dtype float16: unsupported by --format onnx; use float32, or another format")
    model = restored.model
    if dtype is not None:
        model = model.with_params({name: convert(name, w, dtype) for name, w in model.params.items()})
    vocab, options = restored.vocab, restored.config.decode
    decoding = Decoding(vocab.start, vocab.end, vocab.null, options.max_length, build_constraints(options, vocab))
    metadata = write_metadata(restored)
    contents = [build_onnx_model(name, model, decoding, metadata).SerializeToString() for name in files]
    with output_folder(output):
        for file, content in zip(files.values(), contents, strict=True):
            write_file(file, content)
    return list(files.values())


def _is_exported(path: str | os.PathLike[str]) -> bool:
    """Return whether a file begins like an ONNX model whose producer is captioner."""
    field = b"\x12%c" % len(PRODUCER) + PRODUCER.encode()  # producer_name, after the two bytes of ir_version
    return (read_start(path, 2 + len(field)) or b"")[2:] == field


def build_onnx_model(name: str, model: CaptioningModel, decoding: Decoding, metadata: str) -> ModelProto:
    """Build the ONNX model of a graph, with its weights.

    Raises: CaptionerError if it is too large for an ONNX file; UsageError, as `check_cell`.
    """
    from onnx import checker, numpy_helper, parser

    check_cell(model.sizes.decoder, PARTS)
    parts = PARTS[model.sizes.decoder]
    text = GRAPHS[name](Shape(model.sizes, parts, *TYPES[str(model.dtype)]), decoding)
    versions = f'"" : {OPSET}, "{DOMAIN}" : 1'
    domain = f'<domain: "{DOMAIN}", opset_import: ["" : {OPSET}]>'
    functions = "\n".join(f"{domain}{function}" for function in parts.functions(model.sizes))
    header = (
        f'<ir_version: {IR_VERSION}, opset_import: [{versions}], producer_name: "{PRODUCER}", '
        f'producer_version: "{captioner.__version__}">'
    )
    built = parser.parse_model(f"{header}\n{text}\n{functions}")
    weights = _weights(model) | decoding.constants(model.sizes.vocab, model.dtype)
    inputs = _inputs(built.graph)
    used = {name: w for name, w in sorted(weights.items()) if name in inputs}
    if (size := sum(w.nbytes for w in used.values()) + len(metadata)) > LARGEST:
        raise CaptionerError(f"{name}.onnx: expected at most {LARGEST:,} bytes, got {size:,}; export safetensors")
    built.graph.initializer.extend(numpy_helper.from_array(w, name) for name, w in used.items())
    built.metadata_props.add(key=KEY, value=metadata)
    checker.check_model(built, full_check=True)
    return built


def _weights(model: CaptioningModel) -> Params:
    """Return the initializers that any graph may use."""
    tensors = to_tensors(model)
    statistics = {name: tensors[name].astype(model.dtype) for name in tensors if name.endswith(STATISTICS)}
    return {
        **model.params,
        **statistics,
        **PARTS[model.sizes.decoder].weights(model.params, model.sizes),
        **{f"axis_{axis}": np.array([axis], np.int64) for axis in range(3)},
    }


def _inputs(graph: Any) -> set[str]:
    """Return the names of all inputs of the nodes of a graph, also within loops."""
    inner = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return {name for node in graph.node for name in node.input}.union(*map(_inputs, inner))
