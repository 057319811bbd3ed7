"""How an image reaches the cell: as its first state, and by some models as an input of the first or of every step.

Each way is a layer pair: forward makes the state before `<START>` of an image, backward the parameters' gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from captioner.arrays import Array, Params
from captioner.layers.affine import affine_backward, affine_forward
from captioner.layers.cell import Cell, State, step_backward, step_forward
from captioner.parallel.thread_pool import SERIAL, ThreadPool


class ImageInput(NamedTuple):
    """`forward(cell, params, image, state) -> state, cache` takes h0 further, and `backward(dstate, cache)` undoes it
    to `dstate, grads`.

    The gradients are in arrays of their own, and those of the scan, which knows the upper rows of Wx, come on top.
    """

    forward: Callable[[Cell, Params, Array, State], tuple[State, Any]]
    backward: Callable[[State, Any], tuple[State, Params]]
    parts: int = 1
    """Rows of Wx as a multiple of W."""
    own: tuple[str, ...] = ()
    """Parameters that no other way has."""


def init_forward(cell: Cell, p: Params, image: Array, state: State) -> tuple[State, None]:
    """The image is h0 = image W_proj + b_proj alone.

    Source: CS231n, assignment 3.
    """
    return state, None


def init_backward(dstate: State, cache: None) -> tuple[State, Params]:
    return dstate, {}


def first_forward(cell: Cell, p: Params, image: Array, state: State) -> tuple[State, Any]:
    """The image is read like a word before all others: state = cell(image W_image + b_image, h0).

    Source: Vinyals et al. 2015, "Show and Tell", equation 10, where h0 is 0.
    """
    vector, projection = affine_forward(image, p["W_image"], p["b_image"])
    state, step = step_forward(cell, vector, state, p["Wx"], p["Wh"], p["b"])
    return state, (cell, projection, step)


def first_backward(dstate: State, cache: Any) -> tuple[State, Params]:
    cell, projection, step = cache
    dvector, dstate, dWx, dWh, db = step_backward(cell, dstate, step)
    _, dW_image, db_image = affine_backward(dvector, projection)
    return dstate, {"W_image": dW_image, "b_image": db_image, "Wx": dWx, "Wh": dWh, "b": db}


def every_forward(cell: Cell, p: Params, image: Array, state: State) -> tuple[State, Any]:
    """The image is joined to the word at every step: x_t = [W_embed[word_t], image W_image + b_image].

    Its part of x_t Wx is the same at every step, so it is computed once and goes along in the state, as a context that
    the cell adds.

    Source: Mao et al. 2015, "Deep Captioning with Multimodal Recurrent Neural Networks" (the image at every step).
    """
    vector, projection = affine_forward(image, p["W_image"], p["b_image"])
    lower = p["Wx"][vector.shape[1] :]
    context = (vector @ lower).reshape(len(image), cell.gates, -1)
    return (*state, context), (projection, vector, lower)


def every_backward(dstate: State, cache: Any) -> tuple[State, Params]:
    projection, vector, lower = cache
    *dstates, dcontext = dstate
    dlower = dcontext.reshape(len(dcontext), -1)
    _, dW_image, db_image = affine_backward(dlower @ lower.T, projection)
    dWx = np.concatenate([np.zeros_like(lower), vector.T @ dlower])
    return tuple(dstates), {"W_image": dW_image, "b_image": db_image, "Wx": dWx}


IMAGE_INPUTS: dict[str, ImageInput] = {
    "init": ImageInput(init_forward, init_backward),
    "first": ImageInput(first_forward, first_backward, own=("W_image", "b_image")),
    "every": ImageInput(every_forward, every_backward, parts=2, own=("W_image", "b_image")),
}
"""Every way by its name in the config."""


class StartCache(NamedTuple):
    way: ImageInput
    image: Array
    further: Any


def start_forward(
    way: ImageInput, cell: Cell, p: Params, image: Array, pool: ThreadPool = SERIAL
) -> tuple[State, StartCache]:
    """The state before `<START>`: h0 = image W_proj + b_proj, the cell's other states 0, and what the way makes of it.

    Shapes: image (N, F) -> state arrays (N, H), and where the way has a context (N, G, H).
    """
    h0 = pool.matmul(image, p["W_proj"], np.empty((len(image), p["W_proj"].shape[1]), image.dtype))
    h0 += p["b_proj"]
    state, further = way.forward(cell, p, image, (h0, *(np.zeros_like(h0) for _ in range(cell.states - 1))))
    return state, StartCache(way, image, further)


def start_backward(dstate: State, cache: StartCache, dW_proj: Array, pool: ThreadPool = SERIAL) -> Params:
    """Gradients of `start_forward`, that of W_proj in the array given.

    Shapes: dstate arrays like the state's -> a gradient for every parameter that the image goes through.
    """
    (dh0, *_), grads = cache.way.backward(dstate, cache.further)
    return {"W_proj": pool.matmul(cache.image.T, dh0, dW_proj), "b_proj": dh0.sum(axis=0), **grads}
