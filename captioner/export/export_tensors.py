"""Export the tensors of a trained model."""

from __future__ import annotations

from pathlib import Path

from captioner.export.metadata import write_metadata
from captioner.export.output import write
from captioner.export.tensor_formats import FORMATS, is_format
from captioner.export.tensor_names import STATISTICS, convert, to_tensors
from captioner.inference.restore import Restored
from captioner.storage.files import check_output


def export_tensors(
    name: str, restored: Restored, output: Path, dtype: str | None = None, overwrite: bool = False
) -> list[Path]:
    """Write the tensors of a model to a file of the format `name`, as `dtype` or the type of the parameters.

    Raises: UsageError when the file exists and `overwrite` is not set; DataError when a parameter is too large for the
    type; CaptionerError when the file cannot be written.
    """
    check_output(output, overwrite, f"a file of the format {name}", is_format(name))
    tensors = to_tensors(restored.model)
    for tensor, array in tensors.items():
        if dtype is not None and not tensor.endswith(STATISTICS):
            tensors[tensor] = convert(tensor, array, dtype)
    write(output, FORMATS[name].encode(tensors, write_metadata(restored)))
    return [output]
