"""Import a model from a tensor file, which may be hostile: everything is checked before a tensor is read."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from captioner.arrays import Array, Params, cast
from captioner.config.options import Config
from captioner.errors import DataError, UsageError
from captioner.export.metadata import read_metadata
from captioner.export.output import check_folder, output_folder
from captioner.export.tensor_file import TensorFile
from captioner.export.tensor_formats import format_of
from captioner.export.tensor_names import STATISTICS, tensor_shapes, to_params
from captioner.inference.build_model import build_sizes
from captioner.inference.find_checkpoint import BEST
from captioner.model.parameters import Sizes
from captioner.storage import checkpoint
from captioner.storage.checkpoint import Checkpoint, Meta
from captioner.storage.files import check_output
from captioner.storage.sealed import SEAL

FLOATS = ("float16", "float32", "float64")
SUFFIX = Path(BEST).suffix


def import_tensors(path: Path, output: Path, overwrite: bool = False) -> Path:
    """Write the checkpoint of a model in a safetensors or npz file, and return its path.

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
    if target == output:
        check_output(target, overwrite, "a checkpoint", SEAL.matches)
        return
    check_folder(output)
    if output.is_dir():
        if any(file.name != BEST for file in output.iterdir()):
            raise UsageError(f"{output}: expected a new or empty folder, got one with other files; choose another")
        check_output(target, overwrite, "a checkpoint", SEAL.matches)


def read_model(path: Path) -> Checkpoint:
    """Read the model of a tensor file as a checkpoint without training state.

    Raises: DataError.
    """
    with format_of(path).open_file(path) as file:
        if file.metadata is None:
            raise DataError(f"{path}: metadata: missing; expected a file from `captioner export`")
        config, meta = read_metadata(file.metadata, str(path))
        try:
            sizes = _sizes(config, meta)
            _check_headers(file, sizes)
            tensors = {name: _read(file, name, config.model.dtype) for name in file.tensors}
            params, standardizer = to_params(tensors, sizes), _standardizer(tensors, config, sizes)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
    return Checkpoint(meta, params, {}, standardizer)


def _sizes(config: Config, meta: Meta) -> Sizes:
    sizes = build_sizes(config, len(meta.words), meta.feature_dim, meta.region_dim)
    if sizes.attends != (meta.region_dim > 0):
        expected = "at least 1" if sizes.attends else "0"
        raise DataError(
            f"metadata: region_dim: expected {expected} for model.attention {sizes.attention}, got {meta.region_dim}"
        )
    return sizes


def _check_headers(file: TensorFile, sizes: Sizes) -> None:
    shapes = tensor_shapes(sizes)
    if unknown := sorted(file.tensors.keys() - shapes.keys()):
        raise DataError(f"tensor {unknown[0]}: unknown; expected {', '.join(shapes)}")
    for name, shape in shapes.items():
        found = file.tensors.get(name)
        if found is None:
            raise DataError(f"tensor {name}: missing; expected {shape}")
        if found.dtype not in FLOATS:
            raise DataError(f"tensor {name}: expected {', '.join(FLOATS)}, got {found.dtype}")
        if found.shape != shape:
            raise DataError(f"tensor {name}: expected {shape} as the metadata implies, got {found.shape}")


def _read(file: TensorFile, name: str, dtype: str) -> Array:
    """Read a tensor as the type of the parameters, or as float64 for standardization."""
    array = cast(file.read(name), "float64" if name.endswith(STATISTICS) else dtype)
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
