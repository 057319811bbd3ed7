"""Build a model from a config and given parameters."""

from __future__ import annotations

from captioner.arrays import Params
from captioner.config.options import Config
from captioner.layers.dropout import Dropout
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.image_input import Standardizer
from captioner.model.parameters import Sizes


def build_sizes(config: Config, vocab: int, feature: int, region: int = 0) -> Sizes:
    m = config.model
    sizes = m.wordvec_dim, m.hidden_dim, m.cell, m.image_input, m.attention
    return Sizes(vocab, feature, *sizes, region, m.attention_dim)


def build_dropout(config: Config) -> Dropout:
    m = config.model
    return Dropout(m.dropout_features, m.dropout_embedding, m.dropout_hidden, m.dropout_regions, m.dropout_keys)


def assemble(
    config: Config,
    sizes: Sizes,
    params: Params,
    null: int,
    standardizers: tuple[Standardizer | None, Standardizer | None],
) -> CaptioningRNN:
    """The configured model with these parameters, and the standardizers of features and regions."""
    features, regions = standardizers
    return CaptioningRNN(sizes, params, null, build_dropout(config), features, config.train.label_smoothing, regions)
