"""Export a trained model in one of the formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from captioner.export.export_onnx import export_onnx
from captioner.export.safetensors_file import export_safetensors
from captioner.inference.load import open_run
from captioner.inference.restore import Restored

Exporter = Callable[[Restored, Path, str | None, bool], list[Path]]
EXPORTERS: Mapping[str, Exporter] = {"onnx": export_onnx, "safetensors": export_safetensors}
"""All formats: functions `(restored, output, dtype, overwrite) -> written files`."""


def export_run(
    run: Path, name: str, output: Path, dtype: str | None = None, overwrite: bool = False, overrides: Sequence[str] = ()
) -> tuple[Restored, list[Path]]:
    """Export the model of a run folder (its best checkpoint) or of a checkpoint file, and return it and the new files.

    Raises: CheckpointError; ConfigError for overrides; UsageError when a file exists and `overwrite` is not set;
    CaptionerError when one cannot be written.
    """
    restored = open_run(run, overrides)
    return restored, EXPORTERS[name](restored, output, dtype, overwrite)
