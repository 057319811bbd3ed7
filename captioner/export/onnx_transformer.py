"""The parts of the ONNX graphs of a transformer: its memory, its cache of keys and values, and a decoding step.

Letters: N captions, t words before, E width, D = 2 E, T rows of memory, J feed-forward size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from captioner.arrays import Params
from captioner.export.onnx_graphs import Parts, Shape, image_nodes, region_nodes
from captioner.layers.layer_norm import EPSILON
from captioner.model.parameters import Sizes

DOUBLE = 11
"""The number of float64 in ONNX."""
ATTEND = """
attend (q, pairs, row_shape, word_shape, joined_shape, halves, root_of_head) => (context) {
    k, v = Split<axis = 2>(pairs, halves)
    k_words = Reshape(k, word_shape)
    v_words = Reshape(v, word_shape)
    q_heads = Reshape(q, row_shape)
    k_heads = Transpose<perm = [0, 2, 3, 1]>(k_words)
    v_heads = Transpose<perm = [0, 2, 1, 3]>(v_words)
    products = MatMul(q_heads, k_heads)
    scores = Div(products, root_of_head)
    weights = Softmax<axis = 3>(scores)
    contexts = MatMul(weights, v_heads)
    context = Reshape(contexts, joined_shape)
}"""
ACTIVATION_NODES: Mapping[str, str] = {
    "relu": """
activation (a, linear, cubic, half) => (out) {
    out = Relu(a)
}""",
    "gelu": """
activation (a, linear, cubic, half) => (out) {
    square = Mul(a, a)
    cubed = Mul(square, cubic)
    slope = Add(cubed, linear)
    u = Mul(slope, a)
    t = Tanh(u)
    halved = Mul(t, half)
    s = Add(halved, half)
    out = Mul(a, s)
}""",
}
"""The activations of `captioner.layers.feed_forward`."""


def states(sizes: Sizes) -> dict[str, str]:
    """The keys and values of earlier words (key/value cache), for each layer."""
    return {f"words_{i}": "[N, t, D]" for i in range(sizes.layers)}


def constants(sizes: Sizes) -> dict[str, str]:
    """The keys and values of the memory, for each layer."""
    return {f"memory_{i}": "[N, T, D]" for i in range(sizes.layers)}


def start_nodes(shape: Shape) -> str:
    """Compute the memory of images, and no words."""
    regions = f"""{region_nodes(shape)}
    region_product = MatMul(region_standardized, W_region)
    region_rows = Add(region_product, b_region)"""
    lines = [
        "image_product = MatMul(image, W_proj)",
        "image_sum = Add(image_product, b_proj)",
        "image_row = Unsqueeze(image_sum, axis_1)",
        "zero_row = Sub(image_row, image_row)",
        "null_row = Add(zero_row, null)",
        f"memory = Concat<axis = 1>({'region_rows, ' if shape.sizes.attends else ''}image_row, null_row)",
    ]
    for i in range(shape.sizes.layers):
        lines += [
            f"memory_product_{i} = MatMul(memory, layer{i}_cross_Wkv)",
            f"memory_{i} = Add(memory_product_{i}, layer{i}_cross_bkv)",
            f"words_{i}_start = Slice(memory_{i}, axis_0, axis_0, axis_1)",
        ]
    return image_nodes(shape) + (regions if shape.sizes.attends else "") + _indented(lines)


def step_nodes(shape: Shape) -> str:
    """Compute the log-probabilities of the next word, and append a word to the keys and values of each layer."""
    sizes, is_pre = shape.sizes, shape.sizes.norm == "pre"
    lines = [
        "x_word = Gather(W_embed, word)",
        "x_scaled = Mul(x_word, root_of_width)",
        "cache_shape = Shape(words_0)",
        "position = Gather(cache_shape, axis_1)",
        f"position_number = Cast<to = {DOUBLE}>(position)",
        "angle_product = Mul(position_number, rates)",
        "angle = Add(angle_product, phases)",
        "position_double = Sin(angle)",
        f"position_vector = Cast<to = {shape.type_number}>(position_double)",
        "x_0_0 = Add(x_scaled, position_vector)",
    ]
    for i in range(sizes.layers):
        layer = f"layer{i}_"
        heads = "row_shape, word_shape, joined_shape, halves, root_of_head"
        sublayers = (
            [
                f"self_product_{i} = MatMul(NORMED, {layer}self_W)",
                f"self_sum_{i} = Add(self_product_{i}, {layer}self_b)",
                f"self_q_{i}, self_kv_{i} = Split<axis = 1>(self_sum_{i}, query_and_pair)",
                f"pair_{i} = Unsqueeze(self_kv_{i}, axis_1)",
                f"words_{i}_next = Concat<axis = 1>(words_{i}, pair_{i})",
                f"self_context_{i} = captioner.attend(self_q_{i}, words_{i}_next, {heads})",
                f"self_out_{i} = MatMul(self_context_{i}, {layer}self_Wo)",
                f"added_{i}_1 = Add(self_out_{i}, {layer}self_bo)",
            ],
            [
                f"cross_product_{i} = MatMul(NORMED, {layer}cross_Wq)",
                f"cross_q_{i} = Add(cross_product_{i}, {layer}cross_bq)",
                f"cross_context_{i} = captioner.attend(cross_q_{i}, memory_{i}, {heads})",
                f"cross_out_{i} = MatMul(cross_context_{i}, {layer}cross_Wo)",
                f"added_{i}_2 = Add(cross_out_{i}, {layer}cross_bo)",
            ],
            [
                f"hidden_product_{i} = MatMul(NORMED, {layer}W1)",
                f"hidden_{i} = Add(hidden_product_{i}, {layer}b1)",
                f"active_{i} = captioner.activation(hidden_{i}, gelu_linear, gelu_cubic, half)",
                f"feed_forward_{i} = MatMul(active_{i}, {layer}W2)",
                f"added_{i}_3 = Add(feed_forward_{i}, {layer}b2)",
            ],
        )
        for k, sublayer in enumerate(sublayers, 1):
            x, out = f"x_{i}_{k - 1}", f"x_{i}_{k}" if k < 3 else f"x_{i + 1}_0"
            norm = f"{layer}gamma{k}, {layer}beta{k}"
            if is_pre:
                normed = f"normed_{i}_{k}"
                lines += [_norm(normed, x, norm), *(line.replace("NORMED", normed) for line in sublayer)]
                lines.append(f"{out} = Add({x}, added_{i}_{k})")
            else:
                lines += [line.replace("NORMED", x) for line in sublayer]
                lines += [f"sum_{i}_{k} = Add({x}, added_{i}_{k})", _norm(out, f"sum_{i}_{k}", norm)]
    last = f"x_{sizes.layers}_0"
    lines += [
        _norm("output", last, "gamma, beta") if is_pre else f"output = Identity({last})",
        "score_product = MatMul(output, W_vocab)",
        "scores = Add(score_product, b_vocab)",
        "log_probs = LogSoftmax<axis = 1>(scores)",
    ]
    return _indented(lines)


def _norm(out: str, x: str, params: str) -> str:
    return f"{out} = LayerNormalization<axis = -1, epsilon = {EPSILON:.5f}>({x}, {params})"


def _indented(lines: list[str]) -> str:
    return "".join(f"\n    {line}" for line in lines)


def weights(p: Params, sizes: Sizes) -> Params:
    """Return the initializers of the graphs that are not parameters."""
    width, column, dtype = sizes.hidden, np.arange(sizes.hidden), p["W_embed"].dtype
    numbers = {
        "root_of_width": math.sqrt(width),
        "root_of_head": math.sqrt(width / sizes.heads),
        "gelu_linear": math.sqrt(2 / math.pi),
        "gelu_cubic": math.sqrt(2 / math.pi) * 0.044715,
        "half": 0.5,
    }
    sliced: Params = {}
    for i in range(sizes.layers):
        for name in ("W", "b"):
            w = p[f"layer{i}_cross_{name}"]
            sliced |= {f"layer{i}_cross_{name}q": w[..., :width], f"layer{i}_cross_{name}kv": w[..., width:]}
    return {
        **sliced,
        **{name: np.array(number, dtype) for name, number in numbers.items()},
        # float64, because rounding of an angle of hundreds to float32 is an error of 1e-5 in its sine.
        "rates": 1 / 10000 ** ((column - column % 2) / width),
        "phases": column % 2 * (math.pi / 2),  # cos x = sin (x + pi / 2)
        "row_shape": np.array([0, sizes.heads, 1, -1], np.int64),
        "word_shape": np.array([0, 0, sizes.heads, -1], np.int64),
        "joined_shape": np.array([0, width], np.int64),
        "halves": np.array([width, width], np.int64),
        "query_and_pair": np.array([width, 2 * width], np.int64),
    }


TRANSFORMER = Parts(
    states, constants, start_nodes, step_nodes, lambda sizes: (ATTEND, ACTIVATION_NODES[sizes.activation]), weights
)
