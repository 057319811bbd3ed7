"""Attention of the model: hidden states attend to the regions of their images before the output layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array, Params, SharedRows
from captioner.layers.attention import (
    AttentionCache,
    KeysCache,
    attention_backward,
    attention_forward,
    keys_backward,
    keys_forward,
)
from captioner.layers.dropout import Dropout, NoiseRows, row_dropout_backward, row_dropout_forward
from captioner.parallel.thread_pool import SERIAL, ThreadPool

ATTENTIONS: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "adaptive": ("W_key", "b_key", "W_query", "W_sentinel", "b_sentinel", "W_context"),
}
"""The parameters of each kind of attention, by config name."""


class RegionsCache(NamedTuple):
    keys: KeysCache
    keys_mask: Array | None
    attention: AttentionCache


def image_keys(p: Params, regions: SharedRows, pool: ThreadPool = SERIAL) -> SharedRows:
    """Compute the keys of images, without dropout; rows that share an image share its keys.

    Shapes: regions of N rows and values (M, L, R) -> N rows and values (M, L, A).
    """
    return SharedRows(keys_forward(regions.values, p["W_key"], p["b_key"], pool)[0], regions.index)


def hidden_attention(
    p: Params, hidden: Array, keys: SharedRows, pool: ThreadPool = SERIAL
) -> tuple[Array, AttentionCache]:
    """Let hidden states attend to keys.

    Shapes: hidden (P, H), keys of P rows -> (P, H).
    """
    return attention_forward(hidden, keys, p["W_query"], p["W_sentinel"], p["b_sentinel"], p["W_context"], pool)


def regions_forward(
    p: Params,
    hidden: Array,
    regions: SharedRows,
    captions: Array,
    dropout: Dropout,
    rng: np.random.Generator | None,
    images: NoiseRows,
    pool: ThreadPool,
) -> tuple[Array, RegionsCache]:
    """Let the hidden states of captions attend to the regions of their images.

    `images` are the places of the M images in the drawn noise.

    Shapes: hidden (P, H), regions of N rows and values (M, L, R), captions (P,) below N -> (P, H).
    """
    values = regions.values
    rows = values.reshape(-1, values.shape[2])
    noise_rows = images.blocks(values.shape[1])
    rows, _ = row_dropout_forward(rows, dropout.regions, rng, noise_rows, pool)
    keys, keys_cache = keys_forward(rows.reshape(values.shape), p["W_key"], p["b_key"], pool)
    dropped, mask = row_dropout_forward(keys.reshape(len(rows), -1), dropout.keys, rng, noise_rows, pool)
    shared = SharedRows(dropped.reshape(keys.shape), regions.index[captions])
    out, attention = hidden_attention(p, hidden, shared, pool)
    return out, RegionsCache(keys_cache, mask, attention)


def regions_backward(dout: Array, cache: RegionsCache, pool: ThreadPool) -> tuple[Array, Params]:
    """Compute the gradients of `regions_forward` for hidden states and parameters.

    Shapes: dout (P, H) -> dhidden (P, H).
    """
    dhidden, dkeys, *dhidden_params = attention_backward(dout, cache.attention, pool)
    dkeys = row_dropout_backward(dkeys.reshape(-1, dkeys.shape[2]), cache.keys_mask)
    grads = dict(zip(ATTENTIONS["adaptive"], (*keys_backward(dkeys, cache.keys, pool), *dhidden_params), strict=True))
    return dhidden, grads
