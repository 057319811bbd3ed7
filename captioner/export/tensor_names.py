"""Names, shapes and layout of the tensors of exported files: those of PyTorch's layers.

| tensor | shape | of |
|---|---|---|
| `embed.weight` | (V, D) | `nn.Embedding` |
| `image_to_hidden.weight`, `.bias` | (H, F), (H,) | `nn.Linear`: h0 |
| `image_to_input.weight`, `.bias` | (D, F), (D,) | `nn.Linear`: the image as an input (`first`, `every`) |
| `rnn.weight_ih_l0`, `rnn.weight_hh_l0` | (G H, D), (G H, H) | `nn.RNN`, `nn.LSTM`, `nn.GRU` |
| `rnn.bias_ih_l0`, `rnn.bias_hh_l0` | (G H,) | the same |
| `output.weight`, `.bias` | (V, H), (V,) | `nn.Linear`: scores |
| `attention.key`, `.query`, `.sentinel`, `.context` | `nn.Linear` each | adaptive attention |
| `feature_mean`, `feature_std`, `region_mean`, `region_std` | (F,), (R,) | standardization, always present |

Gates are in PyTorch's order: i, f, g, o for the LSTM (captioner's own is i, f, o, g), and r, z, n for the GRU. With the
image input `every`, `weight_ih_l0` is (G H, 2 D): columns of the word, then columns of the image.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from captioner.arrays import Array, Params, cast
from captioner.errors import DataError, UsageError
from captioner.model.captioning_model import CaptioningModel
from captioner.model.image_input import Standardizer
from captioner.model.parameters import Sizes

NAMES: Mapping[str, str] = {
    "W_embed": "embed.weight",
    "W_proj": "image_to_hidden.weight",
    "b_proj": "image_to_hidden.bias",
    "W_image": "image_to_input.weight",
    "b_image": "image_to_input.bias",
    "Wx": "rnn.weight_ih_l0",
    "Wh": "rnn.weight_hh_l0",
    "b": "rnn.bias_ih_l0",
    "W_vocab": "output.weight",
    "b_vocab": "output.bias",
    "W_key": "attention.key.weight",
    "b_key": "attention.key.bias",
    "W_query": "attention.query.weight",
    "W_sentinel": "attention.sentinel.weight",
    "b_sentinel": "attention.sentinel.bias",
    "W_context": "attention.context.weight",
}
"""The tensor of each parameter."""
BIAS, SECOND_BIAS = "rnn.bias_ih_l0", "rnn.bias_hh_l0"
STATISTICS = ("_mean", "_std")
"""The ends of the names of the tensors of standardization, which are always float64."""
GATED = ("Wx", "Wh", "b")
GATE_ORDER: Mapping[str, tuple[int, ...]] = {"rnn": (0,), "lstm": (0, 1, 3, 2), "gru": (0, 1, 2)}
"""The index in captioner's order of each gate in PyTorch's."""
SECOND_BIAS_INSIDE: Mapping[str, int] = {"gru": 1}
"""The number of last gates whose second bias is not added to the first: the GRU multiplies it by the reset gate."""


def check_cell(cell: str, cells: Collection[str]) -> None:
    """Raises: UsageError for a cell that is not one of the cells of an exported format."""
    if cell not in cells:
        raise UsageError(f"model.cell: expected {', '.join(cells)} in exported files, got {cell}; use a checkpoint")


def tensor_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the tensors of a model."""
    shapes = {NAMES[name]: shape if name == "W_embed" else shape[::-1] for name, shape in sizes.shapes().items()}
    widths = {"feature": sizes.feature} | ({"region": sizes.region} if sizes.attends else {})
    statistics = {f"{part}_{name}": (width,) for part, width in widths.items() for name in Standardizer._fields}
    return {**shapes, SECOND_BIAS: shapes[BIAS], **statistics}


def to_tensors(model: CaptioningModel) -> dict[str, Array]:
    """Return the tensors of a model.

    Without standardization, the mean is 0 and the standard deviation is 1.

    Raises: UsageError, as `check_cell`.
    """
    sizes = model.sizes
    check_cell(sizes.cell, GATE_ORDER)
    order, tensors = GATE_ORDER[sizes.cell], {}
    for name, w in model.params.items():
        ordered = _reorder(w, order) if name in GATED else w
        tensors[NAMES[name]] = np.ascontiguousarray(ordered if name == "W_embed" else ordered.T)
    tensors[SECOND_BIAS] = np.zeros_like(tensors[BIAS])
    for part, standardizer, width in (
        ("feature", model.standardizer, sizes.feature),
        ("region", model.region_standardizer, sizes.region),
    ):
        if part == "feature" or sizes.attends:
            statistics = standardizer or Standardizer(np.zeros(width), np.ones(width))
            tensors |= {f"{part}_{name}": array for name, array in statistics._asdict().items()}
    return tensors


def to_params(tensors: Mapping[str, Array], sizes: Sizes) -> Params:
    """Return the parameters of a model from its tensors, which have the shapes of `tensor_shapes`.

    The two biases of the recurrent layer are summed, as the cell has one.

    Raises: DataError if the second bias cannot be added to the first; UsageError, as `check_cell`.
    """
    check_cell(sizes.cell, GATE_ORDER)
    order = np.argsort(GATE_ORDER[sizes.cell])
    second, inside = tensors[SECOND_BIAS], SECOND_BIAS_INSIDE.get(sizes.cell, 0) * sizes.hidden
    if inside and second[-inside:].any():
        raise DataError(
            f"{SECOND_BIAS}: expected 0 for the gate n of the GRU (the last {inside:,} numbers), since captioner's GRU "
            "has no bias inside the reset gate"
        )
    with np.errstate(over="ignore"):
        sums = {**tensors, BIAS: tensors[BIAS] + second}
    if not np.isfinite(sums[BIAS]).all():
        raise DataError(f"{BIAS}: expected a finite sum with {SECOND_BIAS}, got NaN or infinity")
    params = {name: sums[NAMES[name]] if name == "W_embed" else sums[NAMES[name]].T for name in sizes.shapes()}
    return {name: np.ascontiguousarray(_reorder(w, tuple(order)) if name in GATED else w) for name, w in params.items()}


def convert(name: str, array: Array, dtype: str) -> Array:
    """Convert a tensor to a float type.

    Raises: DataError if a number is too large for the type.
    """
    converted = cast(array, dtype)
    if converted is None:
        largest = np.abs(array).max()
        raise DataError(f"{name}: a parameter is too large for {dtype}: {largest:g}; export another dtype")
    return converted


def _reorder(w: Array, order: tuple[int, ...]) -> Array:
    """Reorder the gates of the last axis.

    Shapes: (..., G H) -> (..., G H).
    """
    gates: Array = w.reshape(*w.shape[:-1], len(order), -1)[..., list(order), :]
    return gates.reshape(w.shape)
