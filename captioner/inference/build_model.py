"""Build a model from a config and given parameters."""

from __future__ import annotations

from captioner.arrays import Params
from captioner.config.options import Config
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.dropout import Dropout
from captioner.model.parameters import Sizes
from captioner.model.standardizer import Standardizer


def build_sizes(config: Config, vocab: int, feature: int) -> Sizes:
    model = config.model
    return Sizes(vocab, feature, model.wordvec_dim, model.hidden_dim, model.cell, model.image_input)


def build_dropout(config: Config) -> Dropout:
    return Dropout(config.model.dropout_features, config.model.dropout_embedding, config.model.dropout_hidden)


def assemble(
    config: Config, sizes: Sizes, params: Params, null: int, standardizer: Standardizer | None
) -> CaptioningRNN:
    """The configured model with these parameters."""
    return CaptioningRNN(sizes, params, null, build_dropout(config), standardizer, config.train.label_smoothing)
