"""Check the arrays of a checkpoint against the shapes that its config implies."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from captioner.arrays import Params
from captioner.errors import CheckpointError
from captioner.model.image_input import Standardizer
from captioner.model.parameters import Sizes


def check_arrays(path: Path, group: str, arrays: Params, shapes: dict[str, tuple[int, ...]], dtype: str) -> None:
    """Raises: CheckpointError for an array that is unknown or missing, or has another shape or type."""
    if extra := arrays.keys() - shapes.keys():
        raise CheckpointError(f"{path}: array {group}/{min(extra)}: unknown; expected {', '.join(shapes)}")
    for name, shape in shapes.items():
        array = arrays.get(name)
        if array is None or array.shape != shape or array.dtype != np.dtype(dtype):
            got = "nothing" if array is None else f"{array.dtype} {array.shape}"
            raise CheckpointError(f"{path}: array {group}/{name}: expected {dtype} {shape}, got {got}")


def to_dtype(arrays: Params, dtype: str) -> Params:
    """Convert the float16 arrays of a model package to the dtype of the model; others are returned as they are."""
    return {name: w.astype(dtype) if w.dtype == np.float16 else w for name, w in arrays.items()}


def standardizers_of(path: Path, arrays: Params, sizes: Sizes) -> tuple[Standardizer | None, Standardizer | None]:
    """Return the standardizers of features and of regions, each None without standardization.

    Raises: CheckpointError, as `check_arrays`, and for deviations that are not above 0.
    """
    if not arrays:
        return None, None
    widths = {"": sizes.feature} | ({"region_": sizes.region} if sizes.attends else {})
    shapes: dict[str, tuple[int, ...]] = {}
    for part, width in widths.items():
        shapes |= {f"{part}mean": (width,), f"{part}std": (width,)}
    check_arrays(path, "standardizer", arrays, shapes, "float64")
    for name in shapes:
        if name.endswith("std") and not (arrays[name] > 0).all():
            least = arrays[name].min()
            raise CheckpointError(f"{path}: array standardizer/{name}: expected numbers above 0, got {least:g}")
    features, *regions = (Standardizer(arrays[f"{part}mean"], arrays[f"{part}std"]) for part in widths)
    return features, regions[0] if regions else None
