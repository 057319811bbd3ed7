"""captioner export: models for other libraries."""

from __future__ import annotations

from pathlib import Path

import click

from captioner.cli import output as out
from captioner.cli.shared_options import PATH, example_override_option, examples, run_argument


@click.command(
    epilog=examples(
        "export runs/scenes --format onnx --output scenes-onnx",
        "export runs/scenes --format safetensors --output scenes.safetensors --dtype float16",
    )
)
@run_argument
@click.option(
    "--format", "name", type=click.Choice(["onnx", "safetensors"]), required=True,
    help="onnx: graphs that other programs run; safetensors: the parameters. Both need the extra `export`.",
)  # fmt: skip
@click.option(
    "--output", type=PATH, required=True, metavar="PATH",
    help="Write to PATH: a folder for onnx, a file for safetensors.",
)  # fmt: skip
@click.option(
    "--dtype", type=click.Choice(["float16", "float32"]),
    help="Floating-point precision of the parameters; float16 not with onnx.  [default: model.dtype]",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace files of an earlier export, and no others.")
@example_override_option("decode.max_length=20")
def export(run: Path, name: str, output: Path, dtype: str | None, overwrite: bool, overrides: tuple[str, ...]) -> None:
    """Write a model for other libraries.

    RUN_OR_CHECKPOINT is a run folder, whose best checkpoint is used, a checkpoint file or a model. The files contain
    the vocabulary, the options of model and decoding, and the identity of the image encoder as JSON, and no paths.

    The format onnx writes start.onnx (image features to initial state), step.onnx (word and state to log-probabilities
    and next state) and greedy.onnx (image features to word ids). Standardization of the features is part of the graphs.
    """
    from captioner.export.export_onnx import export_onnx
    from captioner.export.tensors import export_safetensors
    from captioner.inference.load import open_run

    restored = open_run(run, overrides)
    write = {"onnx": export_onnx, "safetensors": export_safetensors}[name]
    files = write(restored, output, dtype, overwrite)
    out.warnings(restored.warnings)
    for file in files:
        out.result(file)
    if restored.model.attends:
        out.note(
            "the model has attention: it needs `features` and `regions` of the encoder; for examples see "
            "https://github.com/captioner-developers/captioner/blob/main/docs/export.md"
        )
