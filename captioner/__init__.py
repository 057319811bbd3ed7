"""Image captioners with vanilla-RNN and LSTM decoders, written by hand in NumPy."""

__version__ = "0.1.0"
