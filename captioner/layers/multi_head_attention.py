"""Multi-head attention over packed rows: causal self-attention, and attention over memory.

q = x W_q + b_q,   k = m W_k + b_k,   v = m W_v + b_v                 m is x itself, or the memory
α_j = softmax(q_j k_jᵀ / sqrt(d)),   c_j = α_j v_j                    for each head j, with its d = E / heads columns
out = [c_1, c_2, ...] W_o + b_o

Projections run on packed rows. The products of q, k and v alone are padded, for a block of groups at a time: a table
has the rows of each group, and -1 where a group has fewer rows. A group is a caption, or all captions of an image in
attention over memory. W is [W_q, W_k, W_v], as in PyTorch, and b likewise.

Letters: P rows, G groups, S rows of a group, T rows of memory of a group, E width.
Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from captioner.arrays import Array
from captioner.layers.attention import group_rows

PADDED_GROUPS = 32
"""Groups that are padded at a time. More groups need more padding, and fewer need more NumPy calls and thus the GIL."""


def dot_product_attention(q: Array, k: Array, v: Array, heads: int, bias: Array | None = None) -> tuple[Array, Array]:
    """Compute the contexts c and the weights α of all heads; `bias` is added to the scores, -inf to masked ones.

    Shapes: q (G, S, E), k, v (G, T, E), bias like α or broadcast to it -> c (G, S, E), α (G, heads, S, T).
    """
    queries, keys, values = (split_heads(a, heads) for a in (q, k, v))
    weights = queries @ keys.swapaxes(2, 3)
    weights *= weights.dtype.type(1 / math.sqrt(queries.shape[3]))
    if bias is not None:
        weights += bias
    weights -= weights.max(axis=3, keepdims=True)
    np.exp(weights, out=weights)
    weights /= weights.sum(axis=3, keepdims=True)
    context = np.empty(q.shape, q.dtype)
    np.matmul(weights, values, out=split_heads(context, heads))
    return context, weights


def causal_bias(steps: int, dtype: DTypeLike) -> Array:
    """Return the bias of scores with which each row attends to itself and earlier rows.

    Shapes: -> (S, S).
    """
    return np.where(np.tri(steps, dtype=bool), 0, -np.inf).astype(dtype)


def dot_product_attention_backward(
    dc: Array, q: Array, k: Array, v: Array, weights: Array
) -> tuple[Array, Array, Array]:
    """Compute the gradients of `dot_product_attention`:

    dv = αᵀ dc,   dα = dc vᵀ,   de = α (dα - Σ_t α_t dα_t) / sqrt(d),   dq = de k,   dk = deᵀ q

    Shapes: dc, q (G, S, E), k, v (G, T, E), weights (G, heads, S, T) -> dq, dk, dv.
    """
    heads = weights.shape[1]
    dcontexts, queries, keys, values = (split_heads(a, heads) for a in (dc, q, k, v))
    dq, dk, dv = (np.empty(a.shape, a.dtype) for a in (q, k, v))
    np.matmul(weights.swapaxes(2, 3), dcontexts, out=split_heads(dv, heads))
    de = dcontexts @ values.swapaxes(2, 3)
    de -= np.einsum("ghst,ghst->ghs", weights, de)[..., None]
    de *= weights
    de *= de.dtype.type(1 / math.sqrt(queries.shape[3]))
    np.matmul(de, keys, out=split_heads(dq, heads))
    np.matmul(de.swapaxes(2, 3), queries, out=split_heads(dk, heads))
    return dq, dk, dv


def split_heads(a: Array, heads: int) -> Array:
    """View the columns of each head.

    Shapes: (G, S, E) -> (G, heads, S, d).
    """
    return a.reshape(*a.shape[:2], heads, a.shape[2] // heads).swapaxes(1, 2)


def group_table(group: Array, groups: int) -> Array:
    """Return the rows of each group in their order, and -1 after its last.

    Shapes: group (P,) ids below G = `groups` -> (G, S).
    """
    grouped = group_rows(group, groups)
    table = np.full((groups, grouped.width), -1)
    table.reshape(-1)[grouped.place] = grouped.rows
    return table


class Block(NamedTuple):
    """Groups that attend together: their rows, which of these are rows, and the weights of all heads.

    Shapes: groups G, rows, is_row (G, S), weights (G, heads, S, T).
    """

    groups: slice
    rows: Array
    is_row: Array
    weights: Array


def blocks(table: Array) -> Iterator[tuple[slice, Array, Array]]:
    """Split the groups of a table into blocks with rows, each as wide as its longest group."""
    for first in range(0, len(table), PADDED_GROUPS):
        groups = slice(first, first + PADDED_GROUPS)
        is_row = table[groups] >= 0
        longest = int(is_row.sum(axis=1).max())
        if longest:
            yield groups, table[groups, :longest], is_row[:, :longest]


class MultiHeadCache(NamedTuple):
    """`pairs` are the keys and values [k, v]: of the rows of x (P, 2 E), or of those of the memory (G, T, 2 E)."""

    x: Array
    memory: Array | None
    queries: Array
    pairs: Array
    blocks: list[Block]
    context: Array
    W: Array
    Wo: Array

    def row_weights(self) -> Array:
        """Return the weights of each row in the memory of its group, as the mean of the heads.

        Shapes: -> (P, T).
        """
        out = np.zeros((len(self.x), self.pairs.shape[1]), self.x.dtype)
        for _, rows, is_row, weights in self.blocks:
            out[rows[is_row]] = weights.mean(axis=1)[is_row]
        return out


def self_attention_forward(
    x: Array, table: Array, W: Array, b: Array, Wo: Array, bo: Array, heads: int
) -> tuple[Array, MultiHeadCache]:
    """Causal self-attention: each row attends to itself and earlier rows of its caption.

    Shapes: x (P, E), table (G, S) of rows, W (E, 3 E), b (3 E,), Wo (E, E), bo (E,) -> (P, E).
    """
    projected = x @ W
    projected += b
    queries, pairs = projected[:, : len(W)], projected[:, len(W) :]
    return _groups_forward(x, None, table, None, queries, pairs, W, Wo, bo, heads)


def memory_attention_forward(
    x: Array,
    memory: Array,
    table: Array,
    bias: Array | None,
    W: Array,
    b: Array,
    Wo: Array,
    bo: Array,
    heads: int,
) -> tuple[Array, MultiHeadCache]:
    """Let each row attend to the rows of memory of its group; `bias` is added to the scores, -inf to masked ones.

    Shapes: x (P, E), memory (G, T, E), table (G, S) of rows, bias (G, S, T), W (E, 3 E), b (3 E,), Wo (E, E), bo (E,)
    -> (P, E).
    """
    width = len(bo)
    queries = x @ W[:, :width]
    queries += b[:width]
    pairs = memory_projection(memory, W, b)
    return _groups_forward(x, memory, table, bias, queries, pairs, W, Wo, bo, heads)


def memory_projection(memory: Array, W: Array, b: Array) -> Array:
    """Compute the keys and values [k, v] of the rows of memory.

    Shapes: memory (G, T, E), W (E, 3 E), b (3 E,) -> (G, T, 2 E).
    """
    rows, width = memory.reshape(-1, memory.shape[2]), len(W)
    out = rows @ W[:, width:]
    out += b[width:]
    return out.reshape(*memory.shape[:2], 2 * width)


def _groups_forward(
    x: Array,
    memory: Array | None,
    table: Array,
    bias: Array | None,
    queries: Array,
    pairs: Array,
    W: Array,
    Wo: Array,
    bo: Array,
    heads: int,
) -> tuple[Array, MultiHeadCache]:
    """Attend with the queries (P, E) to the memory of each group; without memory, to its rows up to the row itself."""
    width, context, attended = len(bo), np.empty(x.shape, x.dtype), []
    causal = causal_bias(table.shape[1] if memory is None else 0, x.dtype)
    for groups, rows, is_row in blocks(table):
        kv, longest, added = pairs[rows if memory is None else groups], rows.shape[1], None
        if memory is None:
            added = causal[:longest, :longest]
        elif bias is not None:
            added = bias[groups, None, :longest]
        c, weights = dot_product_attention(queries[rows], kv[..., :width], kv[..., width:], heads, added)
        context[rows[is_row]] = c[is_row]
        attended.append(Block(groups, rows, is_row, weights))
    out = context @ Wo
    out += bo
    return out, MultiHeadCache(x, memory, queries, pairs, attended, context, W, Wo)


def _groups_backward(dout: Array, cache: MultiHeadCache, dqueries: Array, dpairs: Array) -> tuple[Array, Array]:
    """Write the gradients of queries, and of keys and values; return those of Wo and bo.

    Shapes: dout, dqueries (P, E), dpairs (P, 2 E) or (G, T, 2 E) like the cache's -> dWo (E, E), dbo (E,).
    """
    pairs, width, dcontext = cache.pairs, dout.shape[1], dout @ cache.Wo.T
    for groups, rows, is_row, weights in cache.blocks:
        kv = pairs[rows if cache.memory is None else groups]
        dc = dcontext[rows]
        dc[~is_row] = 0
        dq, dk, dv = dot_product_attention_backward(dc, cache.queries[rows], kv[..., :width], kv[..., width:], weights)
        dqueries[rows[is_row]] = dq[is_row]
        if cache.memory is None:
            dpairs[rows[is_row], :width], dpairs[rows[is_row], width:] = dk[is_row], dv[is_row]
        else:
            dpairs[groups, :, :width], dpairs[groups, :, width:] = dk, dv
    return cache.context.T @ dout, dout.sum(axis=0)


def _bias_gradient(db: Array) -> Array:
    """Set the gradient of the bias of the keys to 0 in place, which it is without rounding errors.

    The bias adds the same to all scores of a query, which the softmax ignores. Adam would turn the rounding errors into
    full updates, which differ between numbers of threads and ranks.

    Shapes: (3 E,) -> (3 E,).
    """
    db[len(db) // 3 : 2 * len(db) // 3] = 0
    return db


def self_attention_backward(dout: Array, cache: MultiHeadCache) -> tuple[Array, Array, Array, Array, Array]:
    """Compute the gradients of `self_attention_forward`, with dq, dk and dv of `dot_product_attention_backward`:

    dc = dout Woᵀ,   dp = [dq, dk, dv],   dx = dp Wᵀ,   dW = xᵀ dp,   db = Σ_p dp,   dWo = cᵀ dout,   dbo = Σ_p dout

    Shapes: dout (P, E) -> dx (P, E), dW (E, 3 E), db (3 E,), dWo (E, E), dbo (E,).
    """
    width, W = dout.shape[1], cache.W
    dprojected = np.empty((len(dout), 3 * width), dout.dtype)
    dWo, dbo = _groups_backward(dout, cache, dprojected[:, :width], dprojected[:, width:])
    dx, dW = dprojected @ W.T, cache.x.T @ dprojected
    return dx, dW, _bias_gradient(dprojected.sum(axis=0)), dWo, dbo


def memory_attention_backward(dout: Array, cache: MultiHeadCache) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Compute the gradients of `memory_attention_forward`:

    dx = dq W_qᵀ,   dm = [dk, dv] [W_k, W_v]ᵀ,   dW = [xᵀ dq, mᵀ dk, mᵀ dv]; the others are as for self-attention

    Shapes: dout (P, E) -> dx (P, E), dmemory (G, T, E), dW (E, 3 E), db (3 E,), dWo (E, E), dbo (E,).
    """
    width, W, memory = dout.shape[1], cache.W, cache.memory
    assert memory is not None
    dqueries, dpairs = np.empty_like(dout), np.zeros_like(cache.pairs)
    dWo, dbo = _groups_backward(dout, cache, dqueries, dpairs)
    dkv = dpairs.reshape(-1, 2 * width)
    dx = dqueries @ W[:, :width].T
    dmemory = (dkv @ W[:, width:].T).reshape(memory.shape)
    dW = np.empty(W.shape, dout.dtype)
    np.matmul(cache.x.T, dqueries, out=dW[:, :width])
    np.matmul(memory.reshape(-1, width).T, dkv, out=dW[:, width:])
    db = _bias_gradient(np.concatenate([dqueries.sum(axis=0), dkv.sum(axis=0)]))
    return dx, dmemory, dW, db, dWo, dbo
