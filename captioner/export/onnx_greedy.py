"""The ONNX graph of greedy decoding with constraints: the loop of `captioner.decode.autoregressive`.

It decodes all captions of a batch until each has ended. `start_nodes` and `step_nodes` are parts of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from captioner.arrays import Params
from captioner.decode.constraints import Constraints
from captioner.export.onnx_text import Shape, start_nodes, step_nodes


class Decoding(NamedTuple):
    """The ids of `<START>`, `<END>` and `<NULL>`, the maximum length in words, and the constraints."""

    start: int
    end: int
    null: int
    max_length: int
    constraints: Constraints

    @property
    def ngram(self) -> int:
        """The no-repeat n-gram size, or 0 if no caption is long enough for it."""
        n = self.constraints.no_repeat_ngram
        return n if n < self.max_length else 0

    def constants(self, vocab: int, dtype: np.dtype[Any]) -> Params:
        """Return the initializers of the graph."""
        bans = np.zeros((2, 1, vocab), dtype)
        bans[0, :, list(self.constraints.banned)] = bans[1, :, self.end] = -np.inf
        numbers = {
            "start_word": self.start,
            "end_word": self.end,
            "null_word": self.null,
            "max_length": self.max_length,
            "min_length": self.constraints.min_length,
        }
        return {
            **{name: np.array(number, np.int64) for name, number in numbers.items()},
            **{f"number_{k}": np.array([k], np.int64) for k in range(self.ngram + 1)},
            "banned": bans[0],
            "end_banned": bans[1],
            "zero": np.zeros((), dtype),
            "minus_infinity": np.array(-np.inf, dtype),
            "no_words": np.zeros((1, 0), np.int64),
            "no": np.array(False),
            "yes": np.array(True),
        }


def ngram_nodes(n: int) -> str:
    """Compute `log_probs_kept`: -inf for words that would complete an n-gram of `words_before` (N, t) again.

    The n-grams start at the positions 0 to `count` - 1; `match` (N, count) marks those with the last n - 1 words.
    """
    lines = [
        "t_row = Unsqueeze(t, axis_0)",
        f"first_last = Sub(t_row, number_{n - 1})",  # the position of the first of the last n - 1 words
        "count = Max(first_last, number_0)",
        f"last_end = Add(count, number_{n - 1})",
        f"completing = Slice(words_before, number_{n - 1}, last_end, axis_1)",
        "match_0 = Equal(completing, completing)",
    ]
    for k in range(n - 1):
        lines += [
            f"some_end_{k} = Add(count, number_{k})",
            f"some_{k} = Slice(words_before, number_{k}, some_end_{k}, axis_1)",
            f"at_{k} = Add(first_last, number_{k})",
            f"after_{k} = Add(at_{k}, number_1)",
            f"last_{k} = Slice(words_before, at_{k}, after_{k}, axis_1)",
            f"same_{k} = Equal(some_{k}, last_{k})",
            f"match_{k + 1} = And(match_{k}, same_{k})",
        ]
    lines += [
        f"penalty = Where(match_{n - 1}, minus_infinity, zero)",
        'log_probs_kept = ScatterElements<axis = 1, reduction = "add">(log_probs, completing, penalty)',
    ]
    return "".join(f"\n    {line}" for line in lines)


def greedy_graph(shape: Shape, decoding: Decoding) -> str:
    """Return the graph (features, regions) -> (words, log_prob).

    `words` has as many columns as the longest caption of the batch; those after `<END>` are `<NULL>`. `log_prob`
    includes `<END>`.
    """
    kind, states, n = shape.float_type, shape.states, decoding.ngram
    starts, lasts = (", ".join(f"{name}_{end}" for name in states) for end in ("start", "last"))
    return f"""greedy ({shape.inputs}) => (int64[N, T] words, {kind}[N] log_prob) {{{start_nodes(shape)}
    feature_shape = Shape(features)
    rows = Slice(feature_shape, axis_0, axis_1)
    words_shape = Concat<axis = 0>(rows, axis_0)
    words_start = Expand(no_words, words_shape)
    word_start = Expand(start_word, rows)
    ended_start = Expand(no, rows)
    log_prob_start = Expand(zero, rows)
    word_last, ended_last, log_prob, words, {lasts} = Loop(
        max_length, yes, word_start, ended_start, log_prob_start, words_start, {starts}
    ) <body = body (
        int64 t, bool running, int64[N] word, bool[N] ended, {kind}[N] log_prob_before, int64[N, t] words_before,
        {shape.declare(states)}
    ) => (
        bool unfinished, int64[N] word_next, bool[N] ended_next, {kind}[N] log_prob_after, int64[N, u] words_after,
        {shape.declare([f"{name}_next" for name in states])}
    ) {{{step_nodes(shape)}{ngram_nodes(n) if n else f"{chr(10)}    log_probs_kept = Identity(log_probs)"}
    allowed = Add(log_probs_kept, banned)
    others = Add(allowed, end_banned)
    best_other = ReduceMax<axes = [1], keepdims = 1>(others)
    has_other = Greater(best_other, minus_infinity)
    is_short = Less(t, min_length)
    must_not_end = And(is_short, has_other)
    constrained = Where(must_not_end, others, allowed)
    best = ArgMax<axis = 1, keepdims = 0>(constrained)
    best_column = Unsqueeze(best, axis_1)
    gained_column = GatherElements<axis = 1>(constrained, best_column)
    gained_always = Squeeze(gained_column, axis_1)
    gained = Where(ended, zero, gained_always)
    log_prob_after = Add(log_prob_before, gained)
    word_next = Where(ended, null_word, best)
    word_column = Unsqueeze(word_next, axis_1)
    words_after = Concat<axis = 1>(words_before, word_column)
    is_end = Equal(best, end_word)
    ended_next = Or(ended, is_end)
    ended_number = Cast<to = 7>(ended_next)
    ended_all = ReduceMin<keepdims = 0>(ended_number)
    ended_bool = Cast<to = 9>(ended_all)
    unfinished = Not(ended_bool)
    }}>
}}"""
