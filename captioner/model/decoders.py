"""The table of decoders."""

from __future__ import annotations

from collections.abc import Mapping

from captioner.layers import CELLS
from captioner.model.captioning_model import CaptioningModel
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.captioning_transformer import CaptioningTransformer

DECODERS: Mapping[str, type[CaptioningModel]] = {
    **dict.fromkeys(CELLS, CaptioningRNN),
    "transformer": CaptioningTransformer,
}
"""The models by the config name of their decoder."""
