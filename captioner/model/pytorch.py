"""The parameters of a model with the names, shapes and layout of PyTorch's layers.

| tensor | shape | of |
|---|---|---|
| `embed.weight` | (V, D) | `nn.Embedding` |
| `image_to_hidden.weight`, `.bias` | (H, F), (H,) | `nn.Linear`: h0 |
| `image_to_input.weight`, `.bias` | (D, F), (D,) | `nn.Linear`: the image as an input (`first`, `every`) |
| `rnn.weight_ih_l0`, `rnn.weight_hh_l0` | (G H, D), (G H, H) | `nn.RNN`, `nn.LSTM`, `nn.GRU` |
| `rnn.bias_ih_l0`, `rnn.bias_hh_l0` | (G H,) | the same |
| `output.weight`, `.bias` | (V, H), (V,) | `nn.Linear`: scores |
| `attention.key`, `.query`, `.sentinel`, `.context` | `nn.Linear` each | adaptive attention |
| `image_to_memory.weight`, `.bias` | (E, F), (E,) | `nn.Linear`: the image feature of a transformer |
| `region_to_memory.weight`, `.bias` | (E, R), (E,) | `nn.Linear`: the regions of a transformer with attention |
| `null` | (E,) | the learned row of memory of a transformer |
| `decoder.layers.0...` | as in PyTorch | `nn.TransformerDecoder` of `nn.TransformerDecoderLayer` |
| `decoder.norm.weight`, `.bias` | (E,), (E,) | its `norm`, with `model.norm` pre |
| `feature_mean`, `feature_std`, `region_mean`, `region_std` | (F,), (R,) | standardization, always present |

Gates are in PyTorch's order: i, f, g, o for the LSTM (captioner's own is i, f, o, g), and r, z, n for the GRU. With the
image input `every`, `weight_ih_l0` is (G H, 2 D): columns of the word, then columns of the image.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from captioner.arrays import Array
from captioner.errors import UsageError
from captioner.model.build import parameter_shapes
from captioner.model.captioning_model import CaptioningModel
from captioner.model.image_input import Standardizer
from captioner.model.parameters import Sizes

RECURRENT: Mapping[str, str] = {
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
"""The tensor of each parameter of a recurrent decoder."""
TRANSFORMER: Mapping[str, str] = {
    **{name: RECURRENT[name] for name in ("W_embed", "W_vocab", "b_vocab")},
    "W_proj": "image_to_memory.weight",
    "b_proj": "image_to_memory.bias",
    "W_region": "region_to_memory.weight",
    "b_region": "region_to_memory.bias",
    "null": "null",
    "gamma": "decoder.norm.weight",
    "beta": "decoder.norm.bias",
}
"""The tensor of each parameter of a transformer outside its layers."""
LAYER: Mapping[str, str] = {
    f"{prefix}_{name}": f"{module}.{tensor}"
    for prefix, module in (("self", "self_attn"), ("cross", "multihead_attn"))
    for name, tensor in (
        ("W", "in_proj_weight"), ("b", "in_proj_bias"), ("Wo", "out_proj.weight"), ("bo", "out_proj.bias"),
    )
} | {
    **{f"{kind}{i}": f"linear{i}.{end}" for i in (1, 2) for kind, end in (("W", "weight"), ("b", "bias"))},
    **{f"{kind}{i}": f"norm{i}.{end}" for i in (1, 2, 3) for kind, end in (("gamma", "weight"), ("beta", "bias"))},
}  # fmt: skip
"""The tensor of each parameter of a transformer's layer, in `nn.TransformerDecoderLayer`."""
BIAS, SECOND_BIAS = RECURRENT["b"], "rnn.bias_hh_l0"
GATED = ("Wx", "Wh", "b")
GATE_ORDER: Mapping[str, tuple[int, ...]] = {"rnn": (0,), "lstm": (0, 1, 3, 2), "gru": (0, 1, 2)}
"""The index in captioner's order of each gate in PyTorch's."""
TENSORS: Mapping[str, Mapping[str, str]] = {**dict.fromkeys(GATE_ORDER, RECURRENT), "transformer": TRANSFORMER}
"""The tensors of parameters by decoder, without those of the layers of a transformer."""


def tensor_names(sizes: Sizes) -> dict[str, str]:
    """Return the name of the tensor of each parameter. Raises: UsageError for a decoder that PyTorch lacks."""
    if sizes.decoder not in TENSORS:
        raise UsageError(f"model.decoder: expected {', '.join(TENSORS)} in safetensors files, got {sizes.decoder}")
    names = dict(TENSORS[sizes.decoder])
    for i in range(sizes.layers):
        names |= {f"layer{i}_{name}": f"decoder.layers.{i}.{tensor}" for name, tensor in LAYER.items()}
    return {name: names[name] for name in parameter_shapes(sizes)}


def to_tensors(model: CaptioningModel) -> dict[str, Array]:
    """Return the tensors of a model.

    Without standardization, the mean is 0 and the standard deviation is 1.

    Raises: UsageError, as `tensor_names`.
    """
    sizes, names, tensors = model.sizes, tensor_names(model.sizes), {}
    for name, w in model.params.items():
        ordered = _reorder(w, GATE_ORDER[sizes.decoder]) if name in GATED else w
        tensors[names[name]] = np.ascontiguousarray(_turned(name, ordered))
    if BIAS in tensors:
        tensors[SECOND_BIAS] = np.zeros_like(tensors[BIAS])
    for part, standardizer, width in (
        ("feature", model.standardizer, sizes.feature),
        ("region", model.region_standardizer, sizes.region),
    ):
        if part == "feature" or sizes.attends:
            statistics = standardizer or Standardizer(np.zeros(width), np.ones(width))
            tensors |= {f"{part}_{name}": array for name, array in statistics._asdict().items()}
    return tensors


def _turned(name: str, w: Array) -> Array:
    """Transpose a matrix of `nn.Linear`."""
    return w if name == "W_embed" else w.T


def _reorder(w: Array, order: tuple[int, ...]) -> Array:
    """Reorder the gates of the last axis.

    Shapes: (..., G H) -> (..., G H).
    """
    gates: Array = w.reshape(*w.shape[:-1], len(order), -1)[..., list(order), :]
    return gates.reshape(w.shape)
