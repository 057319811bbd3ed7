"""Image inputs of the model, and standardization of image features and regions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from captioner.arrays import Array, Params
from captioner.layers.affine import affine_backward, affine_forward
from captioner.layers.cell import Cell, CellState, step_backward, step_forward
from captioner.parallel.thread_pool import SERIAL, ThreadPool


class Standardizer(NamedTuple):
    """Mean and standard deviation (F,) of the training features, or (R,) of their regions."""

    mean: Array
    std: Array

    def apply(self, x: Array) -> None:
        """Standardize rows in place: x = (x - mean) / std.

        Shapes: x (..., F).
        """
        x -= self.mean.astype(x.dtype)
        x /= self.std.astype(x.dtype)


def standardizer_arrays(features: Standardizer | None, regions: Standardizer | None) -> Params:
    """Name the arrays of both standardizers, for a checkpoint."""
    arrays = {} if features is None else features._asdict()
    return arrays if regions is None else arrays | {f"region_{name}": a for name, a in regions._asdict().items()}


class ImageInput(NamedTuple):
    """A layer pair applied to h0: `forward(cell, params, image, state) -> state, cache`, `backward(dstate, cache) ->
    dstate, grads`.

    The gradients are new arrays, to which the caller adds those of the scan.
    """

    forward: Callable[[Cell, Params, Array, CellState], tuple[CellState, Any]]
    backward: Callable[[CellState, Any], tuple[CellState, Params]]
    input_blocks: int = 1
    """Rows of Wx as a multiple of D."""
    extra_params: tuple[str, ...] = ()


def init_forward(cell: Cell, p: Params, image: Array, state: CellState) -> tuple[CellState, None]:
    """Use the image as h0 = image W_proj + b_proj alone.

    Source: CS231n, assignment 3.
    """
    return state, None


def init_backward(dstate: CellState, cache: None) -> tuple[CellState, Params]:
    return dstate, {}


def first_forward(cell: Cell, p: Params, image: Array, state: CellState) -> tuple[CellState, Any]:
    """Feed the image as the first input, before `<START>`: state = cell(image W_image + b_image, h0).

    Source: Vinyals et al. 2015, "Show and Tell", equation 10, where h0 is 0.
    """
    vector, projection = affine_forward(image, p["W_image"], p["b_image"])
    state, step = step_forward(cell, vector, state, p["Wx"], p["Wh"], p["b"])
    return state, (cell, projection, step)


def first_backward(dstate: CellState, cache: Any) -> tuple[CellState, Params]:
    cell, projection, step = cache
    dvector, dstate, dWx, dWh, db = step_backward(cell, dstate, step)
    _, dW_image, db_image = affine_backward(dvector, projection)
    return dstate, {"W_image": dW_image, "b_image": db_image, "Wx": dWx, "Wh": dWh, "b": db}


def every_forward(cell: Cell, p: Params, image: Array, state: CellState) -> tuple[CellState, Any]:
    """Concatenate the image to each input: x_t = [W_embed[word_t], image W_image + b_image].

    The image's part of x_t Wx is constant over time, so it is computed once and passed on in the state, as a context
    added to ax.

    Source: Mao et al. 2015, "Deep Captioning with Multimodal Recurrent Neural Networks" (the image at every step).
    """
    vector, projection = affine_forward(image, p["W_image"], p["b_image"])
    lower = p["Wx"][vector.shape[1] :]
    context = (vector @ lower).reshape(len(image), cell.gates, -1)
    return (*state, context), (projection, vector, lower)


def every_backward(dstate: CellState, cache: Any) -> tuple[CellState, Params]:
    projection, vector, lower = cache
    *dstates, dcontext = dstate
    dlower = dcontext.reshape(len(dcontext), -1)
    _, dW_image, db_image = affine_backward(dlower @ lower.T, projection)
    dWx = np.concatenate([np.zeros_like(lower), vector.T @ dlower])
    return tuple(dstates), {"W_image": dW_image, "b_image": db_image, "Wx": dWx}


IMAGE_INPUTS: dict[str, ImageInput] = {
    "init": ImageInput(init_forward, init_backward),
    "first": ImageInput(first_forward, first_backward, extra_params=("W_image", "b_image")),
    "every": ImageInput(every_forward, every_backward, input_blocks=2, extra_params=("W_image", "b_image")),
}
"""All image inputs by config name."""


class StartCache(NamedTuple):
    image_input: ImageInput
    image: Array
    inner: Any


def start_forward(
    image_input: ImageInput, cell: Cell, p: Params, image: Array, pool: ThreadPool = SERIAL
) -> tuple[CellState, StartCache]:
    """Compute the state before `<START>`: the image input applied to h0 = image W_proj + b_proj, other states 0.

    Shapes: image (N, F) -> state arrays (N, H), and for `every` a context (N, G, H).
    """
    h0 = pool.matmul(image, p["W_proj"], np.empty((len(image), p["W_proj"].shape[1]), image.dtype))
    h0 += p["b_proj"]
    state, inner = image_input.forward(cell, p, image, (h0, *(np.zeros_like(h0) for _ in range(cell.states - 1))))
    return state, StartCache(image_input, image, inner)


def start_backward(dstate: CellState, cache: StartCache, pool: ThreadPool = SERIAL) -> Params:
    """Compute the gradients of `start_forward`.

    Shapes: dstate arrays like the state's -> a gradient for each parameter that the image passes through.
    """
    (dh0, *_), grads = cache.image_input.backward(dstate, cache.inner)
    dW_proj = np.empty((cache.image.shape[1], dh0.shape[1]), dh0.dtype)
    return {"W_proj": pool.matmul(cache.image.T, dh0, dW_proj), "b_proj": dh0.sum(axis=0), **grads}
