"""Layers: pure functions on NumPy arrays, each forward pass beside its backward pass."""

from captioner.layers.cell import Cell
from captioner.layers.gru import GRU
from captioner.layers.lstm import LSTM
from captioner.layers.rnn import RNN

CELLS: dict[str, Cell] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
"""All recurrent cells by config name; to add one, see CONTRIBUTING.md."""
