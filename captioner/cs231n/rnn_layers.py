"""The assignment's `cs231n/rnn_layers.py`: recurrent, embedding, temporal affine and temporal softmax layers."""

from captioner.layers.affine import temporal_affine_backward, temporal_affine_forward
from captioner.layers.embedding import word_embedding_backward, word_embedding_forward
from captioner.layers.lstm import lstm_backward, lstm_forward, lstm_step_backward, lstm_step_forward, sigmoid
from captioner.layers.rnn import rnn_backward, rnn_forward, rnn_step_backward, rnn_step_forward
from captioner.layers.softmax import temporal_softmax_loss

__all__ = ["rnn_backward", "rnn_forward", "rnn_step_backward", "rnn_step_forward"]
__all__ += ["lstm_backward", "lstm_forward", "lstm_step_backward", "lstm_step_forward", "sigmoid"]
__all__ += ["temporal_affine_backward", "temporal_affine_forward", "temporal_softmax_loss"]
__all__ += ["word_embedding_backward", "word_embedding_forward"]
