"""Adaptive attention over image regions, after the recurrent scan: each hidden state attends once.

The regions A_l of an image become keys, once per image:

k_l = max(0, A_l W_key + b_key)

A hidden state h attends to the L keys and to a sentinel s, which has what h contains, for words that need no region:

q = h W_query / sqrt(d);   s = tanh(h W_sentinel + b_sentinel)
α = softmax(q·k_1, ..., q·k_L, q·s);   context = Σ_l α_l k_l + α_{L+1} s;   out = h + context W_context

The keys are also the values. In the paper, the sentinel is the LSTM's memory behind a separate gate; here it is a
function of h, itself the memory behind the output gate, so every cell has a sentinel, and attention needs h alone.

Letters: P rows, M images, L regions per image, R region dimension, d key dimension, H hidden.
Source: Lu et al. 2017, "Knowing When to Look", sections 2.2 and 2.3; Vaswani et al. 2017, "Attention Is All You Need",
section 3.2.1 (scaled dot products).
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import numpy as np

from captioner.arrays import Array, SharedRows
from captioner.layers.cell import concatenate_gates
from captioner.layers.softmax import softmax
from captioner.parallel.thread_pool import SERIAL, ThreadPool


class RowGroups(NamedTuple):
    """P rows sorted by group, and their places in an array that is padded to the largest group.

    Shapes: rows (P,) in sorted order; place (P,) below M · width; bounds (M + 1,) where each group begins in `rows`.
    """

    rows: Array
    place: Array
    bounds: Array
    width: int

    def shard(self, groups: slice) -> RowGroups:
        """Return a contiguous range of groups."""
        bounds = self.bounds[groups.start : groups.stop + 1]
        span = slice(bounds[0], bounds[-1])
        return RowGroups(self.rows[span], self.place[span] - groups.start * self.width, bounds - bounds[0], self.width)

    def pad(self, x: Array) -> Array:
        """Scatter rows in sorted order into an array of zeros.

        Shapes: x (P, D) -> (M, width, D).
        """
        groups = len(self.bounds) - 1
        out = np.zeros((groups * self.width, x.shape[1]), x.dtype)
        out[self.place] = x
        return out.reshape(groups, self.width, x.shape[1])

    def unpad(self, padded: Array) -> Array:
        """Gather the rows of a padded array in sorted order.

        Shapes: padded (M, width, D) -> (P, D).
        """
        rows: Array = padded.reshape(-1, padded.shape[2])[self.place]
        return rows


def group_rows(group: Array, groups: int) -> RowGroups:
    """Sort rows by group.

    Shapes: group (P,) ids below M = `groups`.
    """
    rows = np.argsort(group, kind="stable")
    sizes = np.bincount(group, minlength=groups)
    bounds, width = np.append(0, np.cumsum(sizes)), int(sizes.max(initial=0))
    place = group[rows] * width + np.arange(len(rows)) - bounds[group[rows]]
    return RowGroups(rows, place, bounds, width)


KeysCache: TypeAlias = tuple[Array, Array]


class AttentionCache(NamedTuple):
    """The cache of `attention_forward`; `weights` (P, L + 1) are α, the sentinel last."""

    h: Array
    keys: SharedRows
    groups: RowGroups
    queries: Array
    weights: Array
    context: Array
    W: Array
    W_context: Array


def keys_forward(regions: Array, W_key: Array, b_key: Array, pool: ThreadPool = SERIAL) -> tuple[Array, KeysCache]:
    """Compute the keys of each image: K = max(0, regions W_key + b_key).

    Shapes: regions (M, L, R), W_key (R, d), b_key (d,) -> (M, L, d).
    """
    rows = regions.reshape(-1, regions.shape[2])
    keys, shards = np.empty((len(rows), len(b_key)), rows.dtype), pool.shards(len(rows))

    def work(worker: int) -> None:
        out = keys[shards[worker]]
        np.matmul(rows[shards[worker]], W_key, out=out)
        out += b_key
        np.maximum(out, 0, out=out)

    pool.map(work)
    return keys.reshape(*regions.shape[:2], -1), (rows, keys)


def keys_backward(dkeys: Array, cache: KeysCache, pool: ThreadPool = SERIAL) -> tuple[Array, Array]:
    """Compute the gradients of `keys_forward` for the parameters; regions have none.

    Shapes: dkeys (M, L, d) -> dW_key (R, d), db_key (d,).
    """
    rows, keys = cache
    da = dkeys.reshape(keys.shape) * (keys > 0)
    return pool.matmul(rows.T, da, np.empty((rows.shape[1], da.shape[1]), da.dtype)), da.sum(axis=0)


def attend(
    queries: Array, b_sentinel: Array, keys: SharedRows, pool: ThreadPool = SERIAL
) -> tuple[Array, Array, RowGroups]:
    """Compute weights and contexts from h W_query and h W_sentinel, which q and s overwrite.

    Shapes: queries (2, P, d), keys of P rows and values (M, L, d) -> α (P, L + 1), context (P, d).
    """
    values, (_, count, width) = keys.values, queries.shape
    weights, context = (np.empty((count, size), queries.dtype) for size in (values.shape[1] + 1, width))
    groups, shards = group_rows(keys.index, len(values)), pool.shards(len(values))

    def work(worker: int) -> None:
        K, group = values[shards[worker]], groups.shard(shards[worker])
        q, s = both = queries[:, group.rows]
        q *= 1 / math.sqrt(width)
        s += b_sentinel
        np.tanh(s, out=s)
        queries[:, group.rows] = both
        scores = np.empty((len(q), weights.shape[1]), q.dtype)
        scores[:, :-1] = group.unpad(group.pad(q) @ K.swapaxes(1, 2))
        scores[:, -1] = np.einsum("pa,pa->p", q, s)
        α = softmax(scores)
        s *= α[:, -1:]
        s += group.unpad(group.pad(α[:, :-1]) @ K)
        weights[group.rows], context[group.rows] = α, s

    pool.map(work)
    return weights, context, groups


def attention_forward(
    h: Array,
    keys: SharedRows,
    W_query: Array,
    W_sentinel: Array,
    b_sentinel: Array,
    W_context: Array,
    pool: ThreadPool = SERIAL,
) -> tuple[Array, AttentionCache]:
    """Let each hidden state attend to the keys of its image.

    Shapes: h (P, H), keys of P rows and values (M, L, d), W_query, W_sentinel (H, d), b_sentinel (d,),
    W_context (d, H) -> (P, H).
    """
    W = np.stack([W_query, W_sentinel])
    queries = pool.matmul(h, W, np.empty((2, len(h), W.shape[2]), h.dtype))
    weights, context, groups = attend(queries, b_sentinel, keys, pool)
    out = pool.matmul(context, W_context, np.empty(h.shape, h.dtype))
    out += h
    return out, AttentionCache(h, keys, groups, queries, weights, context, W, W_context)


def attention_backward(
    dout: Array, cache: AttentionCache, pool: ThreadPool = SERIAL
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Compute the gradients of `attention_forward`.

    Shapes: dout (P, H) -> dh (P, H), dkeys (M, L, d), dW_query, dW_sentinel (H, d), db_sentinel (d,),
    dW_context (d, H).
    """
    h, keys, groups, queries, weights, context, W, W_context = cache
    values = keys.values
    dcontext = pool.matmul(dout, W_context.T, np.empty(context.shape, h.dtype))
    dW_context = pool.matmul(context.T, dout, np.empty(W_context.shape, h.dtype))
    dqueries, dkeys, shards = np.empty_like(queries), np.empty_like(values), pool.shards(len(values))

    def work(worker: int) -> None:
        K, group = values[shards[worker]], groups.shard(shards[worker])
        (q, s), α, dc = queries[:, group.rows], weights[group.rows], dcontext[group.rows]
        padded_dc, dα = group.pad(dc), np.empty_like(α)
        dα[:, :-1] = group.unpad(padded_dc @ K.swapaxes(1, 2))
        dα[:, -1] = np.einsum("pa,pa->p", dc, s)
        de = α * (dα - np.einsum("pl,pl->p", α, dα)[:, None])
        padded_de = group.pad(de[:, :-1])
        dq = group.unpad(padded_de @ K)
        dq += de[:, -1:] * s
        dq *= 1 / math.sqrt(W.shape[2])
        ds = α[:, -1:] * dc
        ds += de[:, -1:] * q
        ds *= 1 - s * s
        dqueries[:, group.rows] = dq, ds
        dK = dkeys[shards[worker]]
        np.matmul(padded_de.swapaxes(1, 2), group.pad(q), out=dK)
        dK += group.pad(α[:, :-1]).swapaxes(1, 2) @ padded_dc

    pool.map(work)
    dh = pool.matmul(concatenate_gates(dqueries), concatenate_gates(W).T, np.empty(h.shape, h.dtype))
    dh += dout
    dW_query, dW_sentinel = pool.matmul(h.T, dqueries, np.empty(W.shape, h.dtype))
    return dh, dkeys, dW_query, dW_sentinel, dqueries[1].sum(axis=0), dW_context
