"""The graphs of a captioner in ONNX's text syntax; the weights are initializers with the names of the parameters.

A graph is made of the parts of its decoder: nodes that compute the initial state of images, nodes of one
decoding step, and functions such as the recurrent cell. `greedy_graph` is the loop of
`captioner.decode.greedy_and_sampling`, with constraints, over the first two. Placeholders such as `{cell}` are replaced
by the float type, the cell and the names of values. The parts of a transformer are in `onnx_transformer.py`.

Letters: N captions, F image feature, H hidden, G gates, V vocabulary, L regions, R region dimension, A key dimension.
Source: https://onnx.ai/onnx/repo-docs/Syntax.html
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from captioner.arrays import Params
from captioner.decode.constraints import Constraints
from captioner.layers import CELLS as LAYERS
from captioner.model.parameters import Sizes

OPSET = 17
IR_VERSION = 8
DOMAIN = "captioner"
"""The domain of the functions in `CELLS`."""

CELLS: Mapping[str, str] = {
    "rnn": """
rnn (ax, ah, h) => (h_next) {
    a = Add(ax, ah)
    h_next = Tanh(a)
}""",
    "lstm": """
lstm (ax, ah, h, c) => (h_next, c_next) {
    a = Add(ax, ah)
    a_i, a_f, a_o, a_g = Split<axis = 1>(a)
    i = Sigmoid(a_i)
    f = Sigmoid(a_f)
    o = Sigmoid(a_o)
    g = Tanh(a_g)
    kept = Mul(f, c)
    added = Mul(i, g)
    c_next = Add(kept, added)
    activation = Tanh(c_next)
    h_next = Mul(o, activation)
}""",
    "gru": """
gru (ax, ah, h) => (h_next) {
    ax_r, ax_z, ax_n = Split<axis = 1>(ax)
    ah_r, ah_z, ah_n = Split<axis = 1>(ah)
    a_r = Add(ax_r, ah_r)
    a_z = Add(ax_z, ah_z)
    r = Sigmoid(a_r)
    z = Sigmoid(a_z)
    reset = Mul(r, ah_n)
    a_n = Add(ax_n, reset)
    n = Tanh(a_n)
    difference = Sub(h, n)
    kept = Mul(z, difference)
    h_next = Add(n, kept)
}""",
}
"""The equations of each cell in `captioner.layers`: `(ax, ah, state) => (next state)`."""

STATES = ("h", "c")
"""The arrays (N, H) of a state; some cells have the first alone."""

IMAGE_INPUTS: Mapping[str, str] = {
    "init": "",
    "first": """
    image_vector_0 = MatMul(image, W_image)
    image_vector = Add(image_vector_0, b_image)
    image_x = MatMul(image_vector, Wx)
    image_ax = Add(image_x, b)
    image_ah = MatMul(h_0, Wh)
    {first} = captioner.{cell}(image_ax, image_ah, {projected})""",
    "every": """
    image_vector_0 = MatMul(image, W_image)
    image_vector = Add(image_vector_0, b_image)
    image_ax = MatMul(image_vector, Wx_image)""",
}
"""What each image input adds to the initial state; `image_ax` is constant over time."""

KEYS = """
    key_products = MatMul(region_standardized, W_key)
    key_sums = Add(key_products, b_key)
    keys = Relu(key_sums)"""

ATTENTION = """
    query_product = MatMul(h_next, W_query)
    query = Div(query_product, root_of_keys)
    query_column = Unsqueeze(query, axis_2)
    sentinel_product = MatMul(h_next, W_sentinel)
    sentinel_sum = Add(sentinel_product, b_sentinel)
    sentinel = Tanh(sentinel_sum)
    sentinel_row = Unsqueeze(sentinel, axis_1)
    values = Concat<axis = 1>(keys, sentinel_row)
    attention_scores = MatMul(values, query_column)
    attention_column = Softmax<axis = 1>(attention_scores)
    attention = Transpose<perm = [0, 2, 1]>(attention_column)
    context_row = MatMul(attention, values)
    context = Squeeze(context_row, axis_1)
    attended = MatMul(context, W_context)
    output = Add(h_next, attended)"""
"""The equations of `captioner.layers.attention`; the sentinel is one more key."""


class Parts(NamedTuple):
    """The parts of the graphs of a decoder.

    `start` computes `X_start` of each array X of the state, and the constants, of features and regions; `step` computes
    `log_probs` and `X_next` of `word` and these. `functions` are in the domain `DOMAIN`; `weights` are initializers
    besides the parameters.
    """

    states: Callable[[Sizes], dict[str, str]]
    constants: Callable[[Sizes], dict[str, str]]
    start: Callable[[Shape], str]
    step: Callable[[Shape], str]
    functions: Callable[[Sizes], tuple[str, ...]]
    weights: Callable[[Params, Sizes], Params]


class Shape(NamedTuple):
    """Sizes, decoder parts and float type of an ONNX graph."""

    sizes: Sizes
    parts: Parts
    float_type: str
    type_number: int

    @property
    def states(self) -> dict[str, str]:
        """The arrays of the state, with their dimensions."""
        return self.parts.states(self.sizes)

    @property
    def constants(self) -> dict[str, str]:
        """What decoding needs of an image besides the state, with its dimensions."""
        return self.parts.constants(self.sizes)

    def declare(self, values: Mapping[str, str], suffix: str = "") -> str:
        """Declare values with their types; a dimension t of the next state is u."""
        return ", ".join(
            f"{self.float_type}{dimensions.replace('t', 'u') if suffix else dimensions} {name}{suffix}"
            for name, dimensions in values.items()
        )

    @property
    def inputs(self) -> str:
        """Declare what an encoder returns."""
        s = self.sizes
        regions = f", float[N, L, {s.region}] regions" if s.attends else ""
        return f"float[N, {s.feature}] features{regions}"


def recurrent_constants(sizes: Sizes) -> dict[str, str]:
    return {
        **({"image_ax": "[N, GH]"} if sizes.image == "every" else {}),
        **({"keys": "[N, L, A]"} if sizes.attends else {}),
    }


def image_nodes(shape: Shape) -> str:
    """Compute the standardized `image` of features."""
    return f"""
    image_values = Cast<to = {shape.type_number}>(features)
    image_centred = Sub(image_values, feature_mean)
    image = Div(image_centred, feature_std)"""


def region_nodes(shape: Shape) -> str:
    """Compute the standardized `region_standardized` of regions."""
    return f"""
    region_values = Cast<to = {shape.type_number}>(regions)
    region_centred = Sub(region_values, region_mean)
    region_standardized = Div(region_centred, region_std)"""


def start_nodes(shape: Shape) -> str:
    """Compute `h_start` (and `c_start`), `image_ax` and `keys` of features and regions."""
    projected, started = ([f"{name}_{end}" for name in shape.states] for end in ("0", "start"))
    to_start = "".join(f"\n    {name} = Identity({before})" for name, before in zip(started, projected, strict=True))
    names = {"cell": shape.sizes.decoder, "first": ", ".join(started), "projected": ", ".join(projected)}
    return (
        image_nodes(shape)
        + """
    image_product = MatMul(image, W_proj)
    h_0 = Add(image_product, b_proj)"""
        + ("\n    c_0 = Sub(h_0, h_0)" if "c" in shape.states else "")
        + IMAGE_INPUTS[shape.sizes.image].format(**names)
        + ("" if shape.sizes.image == "first" else to_start)
        + (region_nodes(shape) + KEYS if shape.sizes.attends else "")
    )


def step_nodes(shape: Shape) -> str:
    """Compute `log_probs` and `h_next` (and `c_next`) of `word` and the state."""
    next_state, state = (", ".join(f"{name}{end}" for name in shape.states) for end in ("_next", ""))
    return (
        """
    x = Gather(W_embed, word)
    x_product = MatMul(x, Wx)
    ax_word = Add(x_product, b)
    ah = MatMul(h, Wh)"""
        + f"\n    ax = {'Add(ax_word, image_ax)' if shape.sizes.image == 'every' else 'Identity(ax_word)'}"
        + f"\n    {next_state} = captioner.{shape.sizes.decoder}(ax, ah, {state})"
        + (ATTENTION if shape.sizes.attends else "\n    output = Identity(h_next)")
        + """
    score_product = MatMul(output, W_vocab)
    scores = Add(score_product, b_vocab)
    log_probs = LogSoftmax<axis = 1>(scores)"""
    )


def start_graph(shape: Shape) -> str:
    """The graph of the initial state: (features, regions) -> (state, constants)."""
    ends = "".join(f"\n    {name} = Identity({name}_start)" for name in shape.states)
    outputs = shape.declare(shape.states | shape.constants)
    return f"start ({shape.inputs}) => ({outputs}) {{{shape.parts.start(shape)}{ends}\n}}"


def step_graph(shape: Shape) -> str:
    """The graph of a decoding step: (word, state, constants) -> (log_probs, next state)."""
    inputs, outputs = shape.declare(shape.states | shape.constants), shape.declare(shape.states, "_next")
    log_probs = f"{shape.float_type}[N, {shape.sizes.vocab}] log_probs"
    return f"step (int64[N] word, {inputs}) => ({log_probs}, {outputs}) {{{shape.parts.step(shape)}\n}}"


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
    kind, states, n, parts = shape.float_type, shape.states, decoding.ngram, shape.parts
    starts, lasts = (", ".join(f"{name}_{end}" for name in states) for end in ("start", "last"))
    return f"""greedy ({shape.inputs}) => (int64[N, T] words, {kind}[N] log_prob) {{{parts.start(shape)}
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
        {shape.declare(states, "_next")}
    ) {{{parts.step(shape)}{ngram_nodes(n) if n else f"{chr(10)}    log_probs_kept = Identity(log_probs)"}
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


GRAPHS: Mapping[str, Callable[[Shape, Decoding], str]] = {
    "start": lambda shape, _: start_graph(shape),
    "step": lambda shape, _: step_graph(shape),
    "greedy": greedy_graph,
}
"""The graphs of a captioner."""


def recurrent_weights(p: Params, sizes: Sizes) -> Params:
    return {
        "Wx": p["Wx"][: sizes.wordvec],
        "Wx_image": p["Wx"][sizes.wordvec :],
        "root_of_keys": np.array(math.sqrt(sizes.attention_dim or 1), p["Wx"].dtype),
    }


RECURRENT: Mapping[str, Parts] = {
    cell: Parts(
        lambda sizes: dict.fromkeys(STATES[: LAYERS[sizes.decoder].states], "[N, H]"),
        recurrent_constants,
        start_nodes,
        step_nodes,
        lambda sizes: (CELLS[sizes.decoder],),
        recurrent_weights,
    )
    for cell in CELLS
}
"""The parts of the recurrent decoders."""
