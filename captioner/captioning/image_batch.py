"""Batches of images to caption: of arrays, or of rows of features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from captioner.arrays import Array
from captioner.captioning.checks import check_images
from captioner.captioning.restore import LoadedModel
from captioner.captioning.training_summary import SharesOfRows
from captioner.data.corpus import Features
from captioner.errors import UsageError


class ImageBatch(NamedTuple):
    """Images that are captioned together.

    `names` are those of their captions; `noise_keys` seed the random numbers of sampling. `shares` are the expected
    shares of words, if they are not those of the model's training summary. `digests` are those of photographs.

    Shapes: names (N,), features (N, F), noise_keys (N,), regions (N, rows, columns, R) for a model with attention,
    shares (N, V).
    """

    names: Sequence[str]
    features: Array
    noise_keys: Array
    regions: Array | None = None
    shares: Array | None = None
    digests: Sequence[str] = ()


def row_batches(
    size: int,
    features: Features,
    regions: Features | None = None,
    rows: Array | None = None,
    shares: SharesOfRows | None = None,
) -> Iterator[ImageBatch]:
    """Read some rows of features, in ascending order, or all of them, in batches of `size`, named by their numbers.

    Shapes: features (M, F), regions (M, rows, columns, R), rows (R,) below M.
    """
    rows = np.arange(features.shape[0]) if rows is None else rows
    for first in range(0, len(rows), size):
        chosen = rows[first : first + size]
        yield ImageBatch(
            [str(row) for row in chosen.tolist()],
            features[chosen],
            chosen,
            None if regions is None else regions[chosen],
            None if shares is None else shares(chosen),
        )


def checked_arrays(loaded: LoadedModel, features: Any, regions: Any, where: str) -> tuple[Array, Array | None]:
    """Check features and regions of one image or of several, and return them as those of several.

    Shapes: features (N, F) and regions (N, rows, columns, R), or (F,) and (rows, columns, R) for one image.
    Raises: as `check_images`; UsageError for regions that the model does not use.
    """
    rows = np.asarray(features)
    rows = rows[None] if rows.ndim == 1 else rows
    grids = None if regions is None else np.asarray(regions)
    grids = grids[None] if grids is not None and grids.ndim == 3 else grids
    if grids is not None and not loaded.meta.region_dim:
        raise UsageError(f"{where}: regions= has no effect on a model without attention; leave it out")
    check_images(loaded, rows, where, regions=grids)
    return rows, grids
