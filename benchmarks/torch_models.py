"""The same models in PyTorch, initialized with captioner's parameters: nn.LSTM, nn.RNN and nn.TransformerDecoder."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, linear, scaled_dot_product_attention

from benchmarks.shapes import Shape
from captioner.arrays import Array, Params
from captioner.layers.embedding import sinusoids

State: TypeAlias = Any
"""What a model keeps of the words before."""


class Images(NamedTuple):
    """Features (N, F), and regions (N, L, R) if the model attends to them."""

    features: Tensor
    regions: Tensor | None = None


class Model(nn.Module, ABC):
    """What the models share. `names` has PyTorch's name of each parameter of captioner.

    Matrices are transposed, except the word vectors.
    """

    def __init__(self, shape: Shape, width: int, names: Mapping[str, str]) -> None:
        super().__init__()
        self.shape, self.names = shape, names
        self.embed = nn.Embedding(shape.vocab, width)
        self.project = nn.Linear(shape.feature, shape.hidden)
        self.vocab = nn.Linear(shape.hidden, shape.vocab)

    def load(self, params: Params) -> None:
        """Copy captioner's parameters."""
        with torch.no_grad():
            for name, theirs in self.names.items():
                self.get_parameter(theirs).copy_(torch.from_numpy(_turn(name, self.swap(name, params[name]))))

    def gradients(self) -> Params:
        """Return the gradients under captioner's names."""
        grads = {name: self.get_parameter(theirs).grad for name, theirs in self.names.items()}
        return {n: self.swap(n, _turn(n, grad.numpy())).copy() for n, grad in grads.items() if grad is not None}

    def swap(self, name: str, array: Array) -> Array:
        """Convert between captioner's and PyTorch's order of columns."""
        return array

    def drop(self, x: Tensor, rate: float) -> Tensor:
        return dropout(x, rate) if self.training and rate else x

    def words(self, ids: Tensor) -> Tensor:
        return self.drop(self.embed(ids), self.shape.dropout.words)

    def scores(self, hidden: Tensor) -> Tensor:
        return torch.as_tensor(self.vocab(self.drop(hidden, self.shape.dropout.hidden)))

    def projected(self, features: Tensor) -> Tensor:
        return torch.as_tensor(self.project(self.drop(features, self.shape.dropout.features)))

    @abstractmethod
    def hidden(self, images: Images, ids: Tensor) -> Tensor:
        """Compute the outputs of the decoder at all words.

        Shapes: ids (N, T) -> (N, T, H).
        """


def _turn(name: str, array: Array) -> Array:
    return array if name == "W_embed" else array.T


LAYERS: Mapping[str, tuple[Any, Any, list[int]]] = {
    "rnn": (nn.RNN, torch.rnn_tanh_cell, [0]),
    "lstm": (nn.LSTM, torch.lstm_cell, [0, 1, 3, 2]),
}
"""PyTorch's layer of every cell, its function of one time step, and the order of its gates.

PyTorch has i, f, g, o where captioner has i, f, o, g.
"""
SHARED = {
    "W_embed": "embed.weight",
    "W_proj": "project.weight",
    "b_proj": "project.bias",
    "W_vocab": "vocab.weight",
    "b_vocab": "vocab.bias",
}
RECURRENT = {"Wx": "rnn.weight_ih_l0", "Wh": "rnn.weight_hh_l0", "b": "rnn.bias_ih_l0"}
"""PyTorch's names of the parameters that all models have, and of those of a cell."""


class Recurrent(Model):
    """Image -> h0, words -> embedding -> nn.LSTM or nn.RNN."""

    def __init__(self, shape: Shape, params: Params) -> None:
        super().__init__(shape, shape.wordvec, SHARED | RECURRENT)
        self.rnn = LAYERS[shape.decoder][0](shape.wordvec, shape.hidden, batch_first=True)
        self.load(params)
        nn.init.zeros_(self.rnn.bias_hh_l0)  # captioner has one bias

    def swap(self, name: str, array: Array) -> Array:
        """Convert between the two gate orders; the permutation is its own inverse."""
        if name not in ("Wx", "Wh", "b"):
            return array
        gates = array.reshape(*array.shape[:-1], -1, self.shape.hidden)
        return gates[..., LAYERS[self.shape.decoder][2], :].reshape(array.shape)

    def first(self, images: Images) -> State:
        """Return the initial state as nn.LSTM and nn.RNN take it, with an axis for their layers."""
        state = self.start(images)
        return tuple(s[None] for s in state) if isinstance(state, tuple) else state[None]

    def hidden(self, images: Images, ids: Tensor) -> Tensor:
        return torch.as_tensor(self.rnn(self.words(ids), self.first(images))[0])

    def start(self, images: Images, width: int = 1) -> State:
        """Return the state before the first word, with `width` rows for each image."""
        h0 = self.projected(images.features).repeat_interleave(width, dim=0)
        return (h0, torch.zeros_like(h0)) if isinstance(self.rnn, nn.LSTM) else h0

    def step(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        """Feed one word per row.

        Shapes: words (R,) -> (R, H).
        """
        state = LAYERS[self.shape.decoder][1](self.words(words), state, *self.rnn.all_weights[0])
        return state[0] if isinstance(state, tuple) else state, state

    def take(self, state: State, rows: Tensor) -> State:
        """Select rows of a state; each stays among those of its image."""
        return tuple(s[rows] for s in state) if isinstance(state, tuple) else state[rows]


LAYER = {
    **{
        f"{ours}_{name}": f"{theirs}.{parameter}"
        for ours, theirs in (("self", "self_attn"), ("cross", "multihead_attn"))
        for name, parameter in {
            "W": "in_proj_weight",
            "b": "in_proj_bias",
            "Wo": "out_proj.weight",
            "bo": "out_proj.bias",
        }.items()
    },
    **{f"{name}{i}": f"linear{i}.{kind}" for i in (1, 2) for name, kind in (("W", "weight"), ("b", "bias"))},
    **{f"{name}{i}": f"norm{i}.{kind}" for i in (1, 2, 3) for name, kind in (("gamma", "weight"), ("beta", "bias"))},
}
"""PyTorch's name of each parameter of a transformer's layer."""


class KeyValueCache(NamedTuple):
    """Keys and values of all layers: of the `used` words before, with room for the others, and of the memory.

    Shapes: words (layers, 2, R, heads, T, d), memory (layers, 2, N, heads, M, d). Selected rows are written to `spare`.
    """

    words: Tensor
    spare: Tensor
    memory: Tensor
    used: int = 0


class Transformer(Model):
    """Words -> embedding and sinusoidal positions -> nn.TransformerDecoder; pre-norm, with GELU in its tanh form.

    The memory is the projected regions, if any, the projected feature, and a null row.
    """

    positions: Tensor
    mask: Tensor

    def __init__(self, shape: Shape, params: Params) -> None:
        width = shape.hidden
        layers = {
            f"layer{i}_{ours}": f"decoder.layers.{i}.{theirs}"
            for i in range(shape.layers)
            for ours, theirs in LAYER.items()
        }
        regions = {"W_region": "region.weight", "b_region": "region.bias"} if shape.regions else {}
        final = {"null": "null", "gamma": "decoder.norm.weight", "beta": "decoder.norm.bias"}
        super().__init__(shape, width, {**SHARED, **regions, **layers, **final})
        layer = nn.TransformerDecoderLayer(
            width,
            shape.heads,
            shape.feed_forward,
            shape.dropout.layers,
            partial(gelu, approximate="tanh"),
            batch_first=True,
            norm_first=True,
        )
        # captioner has dropout of the outputs of sublayers only
        layer.self_attn.dropout = layer.multihead_attn.dropout = layer.dropout.p = 0.0
        self.decoder = nn.TransformerDecoder(layer, shape.layers, nn.LayerNorm(width))
        self.null = nn.Parameter(torch.empty(width))
        if shape.regions:
            self.region = nn.Linear(shape.feature, width)
        self.load(params)
        length = shape.columns - 1
        self.register_buffer("positions", torch.from_numpy(sinusoids(length, width)).float())
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length))

    def memory(self, images: Images) -> Tensor:
        """Return the memory of each image.

        Shapes: -> (N, M, E).
        """
        feature = self.projected(images.features)[:, None]
        rows = [feature, self.null.expand_as(feature)]
        if images.regions is not None:
            rows.insert(0, self.region(self.drop(images.regions, self.shape.dropout.regions)))
        return torch.cat(rows, dim=1)

    def hidden(self, images: Images, ids: Tensor) -> Tensor:
        count = ids.shape[1]
        x = self.words(ids) * math.sqrt(self.shape.hidden) + self.positions[:count]
        mask = self.mask[:count, :count]
        return torch.as_tensor(self.decoder(x, self.memory(images), tgt_mask=mask, tgt_is_causal=True))

    def split(self, x: Tensor, count: int, parts: int = 1) -> Tensor:
        """Split queries, keys or values by image and head.

        Shapes: x (N T, parts E) -> (parts, N, heads, T, d).
        """
        heads = self.shape.heads
        return x.reshape(count, -1, parts, heads, self.shape.hidden // heads).permute(2, 0, 3, 1, 4)

    def start(self, images: Images, width: int = 1) -> State:
        memory, count, E = self.memory(images), len(images.features), self.shape.hidden
        layers = [layer.multihead_attn for layer in self.decoder.layers]
        pairs = [self.split(linear(memory, a.in_proj_weight[E:], a.in_proj_bias[E:]), count, 2) for a in layers]
        size = len(layers), 2, count * width, self.shape.heads, len(self.positions), E // self.shape.heads
        return KeyValueCache(torch.empty(size), torch.empty(size), torch.stack(pairs))

    def step(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        cache: KeyValueCache = state
        E, rows, count, t = self.shape.hidden, len(words), cache.memory.shape[2], cache.used
        x = self.words(words) * math.sqrt(E) + self.positions[t]
        for layer, kept, memory in zip(self.decoder.layers, cache.words, cache.memory, strict=True):
            own, cross = layer.self_attn, layer.multihead_attn
            q, *pair = self.split(linear(layer.norm1(x), own.in_proj_weight, own.in_proj_bias), rows, 3)
            for old, new in zip(kept, pair, strict=True):
                old[:, :, t : t + 1] = new
            x = x + own.out_proj(scaled_dot_product_attention(q, *kept[:, :, :, : t + 1]).reshape(rows, E))
            (q,) = self.split(linear(layer.norm2(x), cross.in_proj_weight[:E], cross.in_proj_bias[:E]), count)
            x = x + cross.out_proj(scaled_dot_product_attention(q, *memory).transpose(1, 2).reshape(rows, E))
            x = x + layer.linear2(layer.activation(layer.linear1(layer.norm3(x))))
        return self.decoder.norm(x), cache._replace(used=t + 1)

    def take(self, state: State, rows: Tensor) -> State:
        cache: KeyValueCache = state
        torch.index_select(cache.words, 2, rows, out=cache.spare)
        return cache._replace(words=cache.spare, spare=cache.words)


MODELS: Mapping[str, type[Recurrent | Transformer]] = {
    **dict.fromkeys(LAYERS, Recurrent),
    "transformer": Transformer,
}


def build(shape: Shape, params: Params) -> Recurrent | Transformer:
    return MODELS[shape.decoder](shape, params)
