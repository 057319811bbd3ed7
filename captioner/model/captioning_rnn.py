"""CaptioningRNN: image features set the initial state of a recurrent decoder, which predicts the caption."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from captioner.arrays import Array, Params, SharedRows
from captioner.layers import CELLS
from captioner.layers.scan import ScanCache, scan_backward, scan_forward
from captioner.model.captioning_model import CaptioningModel
from captioner.model.image_input import IMAGE_INPUTS, StartCache, start_backward, start_forward
from captioner.model.inference_model import InferenceModel
from captioner.model.interface import State
from captioner.model.parameters import Shapes, Sizes, recurrent_shapes
from captioner.model.region_attention import RegionsCache, image_keys, regions_backward, regions_forward
from captioner.model.teacher_forcing import Words
from captioner.parallel.thread_pool import ThreadPool


class RecurrentCache(NamedTuple):
    start: StartCache
    scan: ScanCache
    attention: RegionsCache | None


class CaptioningRNN(CaptioningModel):
    """An image captioning model with a recurrent decoder.

    h0 = image W_proj + b_proj;   x_t = W_embed[word_t];   h_t = cell(x_t, h_{t-1})

    The image may also be an input of the cell (see `captioner.model.image_input`), and h_t may attend to the regions of
    the image before the output layer (see `captioner.layers.attention`). `params` has CS231n's names.

    Source: Vinyals et al. 2015, "Show and Tell"; CS231n, assignment 3 (the image as h0).
    """

    @staticmethod
    def shapes(sizes: Sizes) -> Shapes:
        return recurrent_shapes(sizes)

    @staticmethod
    def embed_divisor(sizes: Sizes) -> float:
        return 100.0

    @staticmethod
    def describe(sizes: Sizes) -> dict[str, str]:
        keys = f"{sizes.attention}, keys of {sizes.attention_dim} dimensions"
        return {
            "decoder": f"{sizes.decoder}, {sizes.hidden:,} units",
            "word embedding": f"{sizes.wordvec:,} dimensions",
            "image input": sizes.image,
            "attention": keys if sizes.attends else sizes.attention,
        }

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.cell = CELLS[self.sizes.decoder]

    def start(self, features: Array, regions: SharedRows | None = None) -> State:
        """Return the state before the first word.

        Shapes: features (N, F) -> arrays (N, H), a context (N, G, H) for the image input `every`, and with attention
        the keys of the images as N rows with values (M, L, A).
        """
        image_input = IMAGE_INPUTS[self.sizes.image]
        state = start_forward(image_input, self.cell, self.params, self._image(features))[0]
        regions = self._regions(regions)
        return state if regions is None else (*state, image_keys(self.params, regions))

    def for_inference(self) -> InferenceModel:
        return InferenceModel(self.cell, self.params, self.attends)

    def _decode(
        self,
        words: Words,
        image: Array,
        regions: SharedRows | None,
        rng: np.random.Generator | None,
        save_for_backward: bool,
        pool: ThreadPool,
    ) -> tuple[Array, RecurrentCache]:
        p, packing, inputs = self.params, words.packing, words.inputs
        initial, start = start_forward(IMAGE_INPUTS[self.sizes.image], self.cell, p, image, pool)
        weights = p["Wx"][: inputs.shape[1]], p["Wh"], p["b"]
        hidden, scan = scan_forward(self.cell, inputs, words.ids, initial, *weights, packing, save_for_backward, pool)
        attention = None
        if regions is not None:
            arguments = regions, packing.caption, self.dropout, rng, words.images, pool
            hidden, attention = regions_forward(p, hidden, *arguments)
        return hidden, RecurrentCache(start, scan, attention)

    def _decode_backward(self, dhidden: Array, cache: RecurrentCache, pool: ThreadPool) -> tuple[Array, Params]:
        grads: Params = {}
        if cache.attention is not None:
            dhidden, grads = regions_backward(dhidden, cache.attention, pool)
        dinputs, dstart, dWx, dWh, db = scan_backward(self.cell, dhidden, cache.scan, pool)
        grads |= {"Wx": dWx, "Wh": dWh, "b": db}
        for name, grad in start_backward(dstart, cache.start, pool).items():
            # The image input may have a larger Wx: the scan uses its first rows.
            if name in grads:
                grad[: len(grads[name])] += grads[name]
            grads[name] = grad
        return dinputs, grads

    def _row_attention(self, cache: RecurrentCache) -> Array:
        assert cache.attention is not None
        return cache.attention.attention.weights
