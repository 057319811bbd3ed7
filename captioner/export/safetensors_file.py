"""Models in safetensors files: export, and import of files that may be hostile.

The library checks that the header and the offsets fit to the file. Everything else is checked before a tensor is read.
Source: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from captioner.arrays import Array, Params, cast
from captioner.config.options import Config
from captioner.errors import DataError, UsageError
from captioner.export.metadata import KEY, read_metadata, write_metadata
from captioner.export.tensor_names import STATISTICS, convert, tensor_shapes, to_params, to_tensors
from captioner.inference.find_checkpoint import BEST
from captioner.inference.restore import Restored, build_sizes
from captioner.model.parameters import Sizes
from captioner.storage import checkpoint
from captioner.storage.atomic import write_file
from captioner.storage.checkpoint import Checkpoint, Meta
from captioner.storage.files import check_output, output_folder, read_start, regular_file
from captioner.storage.sealed import CHECKPOINT_SEAL

MAX_BYTES = 8 << 30
"""The maximum size of a file, as of a checkpoint."""
DTYPES: Mapping[str, str] = {"F16": "float16", "F32": "float32", "F64": "float64"}
"""The supported types of tensors, by their names in the header of a file."""
SUFFIX = Path(BEST).suffix


def export_safetensors(
    restored: Restored, output: Path, dtype: str | None = None, overwrite: bool = False
) -> list[Path]:
    """Write the tensors of a model to a file, as `dtype` or the type of the parameters.

    Raises: UsageError when the file exists and `overwrite` is not set; DataError when a parameter is too large for the
    type; CaptionerError when the file cannot be written.
    """
    from safetensors.numpy import save

    check_output(output, overwrite, "a file from `captioner export`", _is_exported)
    tensors = to_tensors(restored.model)
    for tensor, array in tensors.items():
        if dtype is not None and not tensor.endswith(STATISTICS):
            tensors[tensor] = convert(tensor, array, dtype)
    write_file(output, save(tensors, {KEY: write_metadata(restored)}))
    return [output]


def import_safetensors(path: Path, output: Path, overwrite: bool = False) -> Path:
    """Write the checkpoint of a model in a safetensors file, and return its path.

    An `output` with the suffix .h5 is the checkpoint; any other is a new run folder that contains it.

    Raises: DataError when the file is damaged or does not contain a model; UsageError when the output exists;
    CheckpointError when it cannot be written.
    """
    target = output if output.suffix == SUFFIX else output / BEST
    _check_target(output, target, overwrite)
    model = read_model(path)
    with nullcontext() if target == output else output_folder(output):
        checkpoint.save(target, model)
    return target


def _check_target(output: Path, target: Path, overwrite: bool) -> None:
    """Raises: UsageError when the checkpoint exists and `overwrite` is not set, or its folder has other files."""
    if target != output and not output.is_dir():
        return  # `output_folder` checks it
    if target != output and any(file.name != BEST for file in output.iterdir()):
        raise UsageError(f"{output}: expected a new or empty folder, got one with other files; choose another")
    check_output(target, overwrite, "a checkpoint", CHECKPOINT_SEAL.matches)


def read_model(path: Path) -> Checkpoint:
    """Read the model of a safetensors file as a checkpoint without training state.

    Raises: DataError.
    """
    with regular_file(path, MAX_BYTES, expected="a safetensors file") as descriptor:
        start = os.read(descriptor, 9)
    if not _is_start(start):
        raise DataError(f"{path}: expected a safetensors file from `captioner export`, got another file")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            metadata = (file.metadata() or {}).get(KEY)
            if metadata is None:
                raise DataError(f"{path}: metadata: missing; expected a file from `captioner export`")
            config, meta = read_metadata(metadata, str(path))
            try:
                sizes = _sizes(config, meta)
                _check_headers(file, sizes)
                tensors = {name: _read(file, name, config.model.dtype) for name in file.keys()}  # noqa: SIM118
                params, standardizer = to_params(tensors, sizes), _standardizer(tensors, config, sizes)
            except DataError as error:
                raise DataError(f"{path}: {error}") from error
    except SafetensorError as error:
        raise DataError(f"{path}: damaged, or not a safetensors file: {error}") from error
    return Checkpoint(meta, params, {}, standardizer)


def _is_exported(path: str | os.PathLike[str]) -> bool:
    """Return whether a file begins like a safetensors file with the metadata of captioner alone."""
    start = b'{"__metadata__":{"%s":' % KEY.encode()
    return (read_start(path, 8 + len(start)) or b"")[8:] == start


def _is_start(start: bytes) -> bool:
    """Return whether the JSON header follows its length, as in a safetensors file."""
    return start[8:] == b"{"


def _sizes(config: Config, meta: Meta) -> Sizes:
    sizes = build_sizes(config, len(meta.words), meta.feature_dim, meta.region_dim)
    if sizes.attends != (meta.region_dim > 0):
        expected = "at least 1" if sizes.attends else "0"
        raise DataError(
            f"metadata: region_dim: expected {expected} for model.attention {sizes.attention}, got {meta.region_dim}"
        )
    return sizes


def _check_headers(file: Any, sizes: Sizes) -> None:
    """Raises: DataError for missing or unknown tensors, and for other types or shapes than the metadata implies."""
    shapes = tensor_shapes(sizes)
    headers = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    if unknown := sorted(headers.keys() - shapes.keys()):
        raise DataError(f"tensor {unknown[0]}: unknown; expected {', '.join(shapes)}")
    for name, shape in shapes.items():
        if name not in headers:
            raise DataError(f"tensor {name}: missing; expected {shape}")
        dtype, got = headers[name].get_dtype(), tuple(headers[name].get_shape())
        if dtype not in DTYPES:
            raise DataError(f"tensor {name}: expected {', '.join(DTYPES.values())}, got {dtype}")
        if got != shape:
            raise DataError(f"tensor {name}: expected {shape} as the metadata implies, got {got}")
    types = {headers[name].get_dtype(): name for name in shapes if not name.endswith(STATISTICS)}
    if len(types) > 1:
        different = " and ".join(f"{DTYPES[dtype]} ({name})" for dtype, name in types.items())
        raise DataError(f"expected parameters of one type, got {different}; convert all to one")


def _read(file: Any, name: str, dtype: str) -> Array:
    """Read a tensor as the type of the parameters, or as float64 for standardization."""
    array = cast(file.get_tensor(name), "float64" if name.endswith(STATISTICS) else dtype)
    if array is None:
        raise DataError(f"tensor {name}: expected finite numbers of {dtype}, got others")
    return array


def _standardizer(tensors: Params, config: Config, sizes: Sizes) -> Params:
    """Return the standardizers of features and regions under the names of a checkpoint."""
    arrays: Params = {}
    for part, prefix in (("feature", ""), *((("region", "region_"),) if sizes.attends else ())):
        mean, std = tensors[f"{part}_mean"], tensors[f"{part}_std"]
        if not (std > 0).all():
            raise DataError(f"tensor {part}_std: expected numbers above 0, got {std.min():g}")
        if not config.data.standardize and (mean.any() or (std != 1).any()):
            raise DataError(f"tensor {part}_mean: expected mean 0 and deviation 1 without data.standardize, got others")
        arrays |= {f"{prefix}mean": mean, f"{prefix}std": std}
    return arrays if config.data.standardize else {}
