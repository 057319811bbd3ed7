"""The API of Stanford CS231n, assignment 3, in modules named like the assignment's files.

To run a notebook, replace `cs231n` by `captioner.cs231n` in its imports. All names can also be imported from this
package. Random numbers are drawn from NumPy's global state, as in the assignment, so `np.random.seed(231)` reproduces
its numbers.

Source: CS231n, assignment 3: rnn_layers.py, layers.py, optim.py, captioning_solver.py, coco_utils.py,
gradient_check.py, classifiers/rnn.py.
"""

from captioner.cs231n.captioning_solver import CaptioningSolver
from captioner.cs231n.classifiers.rnn import CaptioningRNN
from captioner.cs231n.coco_utils import decode_captions, load_coco_data, sample_coco_minibatch
from captioner.cs231n.gradient_check import eval_numerical_gradient, eval_numerical_gradient_array
from captioner.cs231n.layers import affine_backward, affine_forward
from captioner.cs231n.optim import adam, rmsprop, sgd, sgd_momentum
from captioner.cs231n.rnn_layers import (
    lstm_backward,
    lstm_forward,
    lstm_step_backward,
    lstm_step_forward,
    rnn_backward,
    rnn_forward,
    rnn_step_backward,
    rnn_step_forward,
    sigmoid,
    temporal_affine_backward,
    temporal_affine_forward,
    temporal_softmax_loss,
    word_embedding_backward,
    word_embedding_forward,
)

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
