"""The public API of CS231n, assignment 3: its names, signatures and semantics on captioner's kernels.

A notebook of the assignment runs after its imports are changed to `from captioner.cs231n import ...`. Randomness is
NumPy's global state, as there, so that `np.random.seed(231)` gives the assignment's own numbers.

Source: CS231n, assignment 3: rnn_layers.py, optim.py, captioning_solver.py, coco_utils.py, classifiers/rnn.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from captioner.arrays import Array, Params
from captioner.data.cs231n import read_folder
from captioner.decode import greedy
from captioner.gradcheck import numeric_gradient
from captioner.layers import CELLS
from captioner.layers.affine import (
    affine_backward,
    affine_forward,
    temporal_affine_backward,
    temporal_affine_forward,
)
from captioner.layers.embedding import word_embedding_backward, word_embedding_forward
from captioner.layers.lstm import lstm_backward, lstm_forward, lstm_step_backward, lstm_step_forward, sigmoid
from captioner.layers.rnn import rnn_backward, rnn_forward, rnn_step_backward, rnn_step_forward
from captioner.layers.softmax import temporal_softmax_loss
from captioner.model import CaptioningRNN as Model
from captioner.optim import RULES, Hyper
from captioner.parameters import Sizes, initial_params

__all__ = [
    "CaptioningRNN",
    "CaptioningSolver",
    "adam",
    "affine_backward",
    "affine_forward",
    "decode_captions",
    "eval_numerical_gradient",
    "eval_numerical_gradient_array",
    "load_coco_data",
    "lstm_backward",
    "lstm_forward",
    "lstm_step_backward",
    "lstm_step_forward",
    "rmsprop",
    "rnn_backward",
    "rnn_forward",
    "rnn_step_backward",
    "rnn_step_forward",
    "sample_coco_minibatch",
    "sgd",
    "sgd_momentum",
    "sigmoid",
    "temporal_affine_backward",
    "temporal_affine_forward",
    "temporal_softmax_loss",
    "word_embedding_backward",
    "word_embedding_forward",
]


class CaptioningRNN:
    """A captioner with the assignment's interface; `params` may be replaced array by array.

    `word_to_idx` may lack `<START>` and `<END>`, and may have ids beyond V - 1, when only `loss` is used.

    Raises: ValueError for another cell_type.
    """

    def __init__(
        self,
        word_to_idx: Mapping[str, int],
        input_dim: int = 512,
        wordvec_dim: int = 128,
        hidden_dim: int = 128,
        cell_type: str = "rnn",
        dtype: type = np.float32,
    ) -> None:
        if cell_type not in CELLS:
            raise ValueError(f'Invalid cell_type "{cell_type}"')
        self.cell_type = cell_type
        self.dtype = dtype
        self.word_to_idx = word_to_idx
        self.idx_to_word = {i: w for w, i in word_to_idx.items()}
        self._null = word_to_idx["<NULL>"]
        self._start = word_to_idx.get("<START>")
        self._end = word_to_idx.get("<END>")
        sizes = Sizes(len(word_to_idx), input_dim, wordvec_dim, hidden_dim, cell_type)
        self._model = Model(sizes, initial_params(sizes, lambda shape: np.random.randn(*shape), dtype), self._null)

    @property
    def params(self) -> Params:
        return self._model.params

    @params.setter
    def params(self, params: Params) -> None:
        self._model.params = params

    def loss(self, features: Array, captions: Array) -> tuple[float, Params]:
        """The loss of a batch and its gradients.

        Shapes: features (N, D), captions (N, T) -> loss, grads like params.
        """
        return self._model.loss(features, captions)

    def sample(self, features: Array, max_length: int = 30) -> Array:
        """Greedy captions: the plain argmax at every step, no word suppressed.

        Shapes: features (N, D) -> (N, max_length) int32; the first column is the first word after `<START>`.
        Raises: ValueError when the vocabulary lacks `<START>` or `<END>`.
        """
        if self._start is None or self._end is None:
            raise ValueError("sample needs <START> and <END> in word_to_idx")
        tokens, _ = greedy(
            self._model.reader().step,
            self._model.start(features),
            start=self._start,
            end=self._end,
            null=self._null,
            max_length=max_length,
        )
        return tokens[:, 0]


Update = Callable[..., tuple[Array, dict[str, Any]]]


def _update(name: str, learning_rate: float, options: tuple[str, ...], doc: str, counts: bool = False) -> Update:
    """The assignment's form of an update rule: running state and hyper-parameters, and t where it counts updates,
    share one dict.
    """
    rule = RULES[name]

    def update(w: Array, dw: Array, config: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        config = {} if config is None else config
        config.setdefault("learning_rate", learning_rate)
        for option in options:
            config.setdefault(option, Hyper._field_defaults[option])
        for slot in rule.slots:
            config[slot] = np.array(config.get(slot, np.zeros_like(w)))
        t = config.get("t", 0) + 1
        if counts:
            config["t"] = t
        next_w = np.array(w)
        hyper = Hyper(**{field: config[field] for field in ("learning_rate", *options)})
        rule.apply(next_w, dw, tuple(config[slot] for slot in rule.slots), hyper, t, 1.0)
        return next_w, config

    update.__name__ = update.__qualname__ = name
    update.__doc__ = doc
    return update


sgd = _update("sgd", 1e-2, (), "Vanilla gradient descent; config: learning_rate.")
sgd_momentum = _update("sgd_momentum", 1e-2, ("momentum",), "Momentum; config: learning_rate, momentum, velocity.")
rmsprop = _update(
    "rmsprop", 1e-2, ("decay_rate", "epsilon"), "RMSProp; config: learning_rate, decay_rate, epsilon, cache."
)
adam = _update(
    "adam",
    1e-3,
    ("beta1", "beta2", "epsilon"),
    "Adam; config: learning_rate, beta1, beta2, epsilon, m, v, t.",
    counts=True,
)
UPDATES: dict[str, Update] = {"sgd": sgd, "sgd_momentum": sgd_momentum, "rmsprop": rmsprop, "adam": adam}


class CaptioningSolver:
    """The assignment's training loop: batches drawn with replacement, the learning rate decayed every epoch.

    Raises: ValueError for an unknown keyword or update rule.
    """

    def __init__(
        self,
        model: CaptioningRNN,
        data: Mapping[str, Any],
        *,
        update_rule: str = "sgd",
        optim_config: Mapping[str, Any] | None = None,
        lr_decay: float = 1.0,
        batch_size: int = 100,
        num_epochs: int = 10,
        print_every: int = 10,
        verbose: bool = True,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise ValueError("Unrecognized arguments " + ", ".join(f'"{name}"' for name in unknown))
        if update_rule not in UPDATES:
            raise ValueError(f'Invalid update_rule "{update_rule}"')
        self.model = model
        self.data = data
        self.update_rule = UPDATES[update_rule]
        self.optim_config = dict(optim_config or {})
        self.lr_decay = lr_decay
        self.batch_size = batch_size
        self.num_epochs = num_epochs
        self.print_every = print_every
        self.verbose = verbose
        self.epoch = 0
        self.loss_history: list[float] = []
        self.optim_configs: dict[str, dict[str, Any]] = {name: dict(self.optim_config) for name in model.params}

    def train(self) -> None:
        """Run num_epochs * max(train captions // batch_size, 1) iterations."""
        per_epoch = max(len(self.data["train_captions"]) // self.batch_size, 1)
        iterations = self.num_epochs * per_epoch
        for t in range(iterations):
            self._step()
            if self.verbose and t % self.print_every == 0:
                print(f"(Iteration {t + 1} / {iterations}) loss: {self.loss_history[-1]:f}")
            if (t + 1) % per_epoch == 0:
                self.epoch += 1
                for config in self.optim_configs.values():
                    config["learning_rate"] *= self.lr_decay

    def _step(self) -> None:
        captions, features, _ = sample_coco_minibatch(self.data, self.batch_size, "train")
        loss, grads = self.model.loss(features, captions)
        self.loss_history.append(loss)
        params = self.model.params
        for name, w in params.items():
            params[name], self.optim_configs[name] = self.update_rule(w, grads[name], self.optim_configs[name])


def load_coco_data(
    base_dir: str | os.PathLike[str] = "cs231n/datasets/coco_captioning",
    max_train: int | None = None,
    pca_features: bool = True,
) -> dict[str, Any]:
    """The assignment's data as one dict; max_train captions of train are drawn with replacement.

    Raises: DataError when a file is missing or damaged.
    """
    data: dict[str, Any] = dict(read_folder(base_dir, pca=pca_features))
    if max_train is not None:
        rows = np.random.randint(len(data["train_captions"]), size=max_train)
        data["train_captions"] = data["train_captions"][rows]
        data["train_image_idxs"] = data["train_image_idxs"][rows]
    return data


def sample_coco_minibatch(data: Mapping[str, Any], batch_size: int = 100, split: str = "train") -> tuple[Any, Any, Any]:
    """Captions drawn with replacement, and the features and URLs of their images.

    Shapes: -> captions (N, T), features (N, D), urls (N,).
    """
    rows = np.random.choice(len(data[f"{split}_captions"]), batch_size)
    images = data[f"{split}_image_idxs"][rows]
    return data[f"{split}_captions"][rows], data[f"{split}_features"][images], data[f"{split}_urls"][images]


def decode_captions(captions: Array, idx_to_word: Sequence[str] | Mapping[int, str]) -> str | list[str]:
    """Captions as text up to and with `<END>`, without `<NULL>`; one caption gives one text.

    Shapes: captions (N, T) or (T,).
    """
    if captions.ndim == 1:
        return _text(captions.tolist(), idx_to_word)
    return [_text(row, idx_to_word) for row in captions.tolist()]


def _text(ids: list[int], idx_to_word: Sequence[str] | Mapping[int, str]) -> str:
    words = []
    for i in ids:
        words.append(idx_to_word[i])
        if words[-1] == "<END>":
            break
    return " ".join(word for word in words if word != "<NULL>")


def eval_numerical_gradient(f: Callable[[Array], float], x: Array, verbose: bool = True, h: float = 1e-5) -> Array:
    """Central differences of a scalar function of x, which is changed in place and put back.

    `verbose` is part of the assignment's signature and has no effect.
    """
    return numeric_gradient(lambda: f(x), x, h)


def eval_numerical_gradient_array(f: Callable[[Array], Array], x: Array, df: Array, h: float = 1e-5) -> Array:
    """Central differences of Σ <f(x), df> for an array-valued function."""
    return numeric_gradient(lambda: f(x), x, h, df)
