"""Export a trained model as ONNX graphs."""

from __future__ import annotations

from pathlib import Path

from captioner.errors import UsageError
from captioner.export.metadata import write_metadata
from captioner.export.onnx_greedy import Decoding
from captioner.export.onnx_models import GRAPHS, build_model
from captioner.export.output import check_folder, output_folder, write
from captioner.export.tensor_names import convert
from captioner.inference.decoder import build_constraints
from captioner.inference.restore import Restored
from captioner.storage.files import check_output


def export_onnx(restored: Restored, output: Path, dtype: str | None = None, overwrite: bool = False) -> list[Path]:
    """Write start.onnx, step.onnx and greedy.onnx into a folder; greedy.onnx has the decoding constraints of the model.

    Raises: UsageError when a file exists and `overwrite` is not set, or for options that the graphs do not have;
    CaptionerError when a file cannot be written.
    """
    files = {name: output / f"{name}.onnx" for name in GRAPHS}
    check_folder(output)
    for file in files.values() if output.is_dir() else ():
        check_output(file, overwrite)
    if dtype == "float16":
        raise UsageError("--dtype float16: unsupported by --format onnx; use float32, or another format")
    model = restored.model
    if dtype is not None:
        model = model.with_params({name: convert(name, w, dtype) for name, w in model.params.items()})
    vocab, options = restored.vocab, restored.config.decode
    decoding = Decoding(vocab.start, vocab.end, vocab.null, options.max_length, build_constraints(options, vocab))
    metadata = write_metadata(restored)
    contents = [build_model(name, model, decoding, metadata).SerializeToString() for name in files]
    with output_folder(output):
        for file, content in zip(files.values(), contents, strict=True):
            write(file, content)
    return list(files.values())
