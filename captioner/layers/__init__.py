"""The mathematics: pure functions on NumPy arrays, every forward beside its backward."""

from captioner.layers.cell import Cell
from captioner.layers.lstm import LSTM
from captioner.layers.rnn import RNN

CELLS: dict[str, Cell] = {"rnn": RNN, "lstm": LSTM}
"""Every recurrent cell by its name in the config; a new one is a file and a row here."""
