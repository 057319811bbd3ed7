"""Image captioners with an RNN, LSTM, GRU or transformer decoder, written by hand in NumPy.

The public names are imported on first use, so that `captioner --help` imports neither NumPy nor h5py.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captioner.api import evaluate, load, resume, train
    from captioner.captioning.caption import Caption
    from captioner.captioning.captioner import Captioner
    from captioner.config.options import Config
    from captioner.data.vocabulary import Vocab
    from captioner.errors import CaptionerError
    from captioner.model.captioning_rnn import CaptioningRNN
    from captioner.model.captioning_transformer import CaptioningTransformer
    from captioner.photos.captioner import PhotoCaptioner

__version__ = "0.2.0.dev0"
__all__ = [
    "Caption",
    "Captioner",
    "CaptionerError",
    "CaptioningRNN",
    "CaptioningTransformer",
    "Config",
    "PhotoCaptioner",
    "Vocab",
    "evaluate",
    "load",
    "resume",
    "train",
]

_HOMES = {
    "Caption": "captioner.captioning.caption",
    "Captioner": "captioner.captioning.captioner",
    "CaptionerError": "captioner.errors",
    "CaptioningRNN": "captioner.model.captioning_rnn",
    "CaptioningTransformer": "captioner.model.captioning_transformer",
    "Config": "captioner.config.options",
    "PhotoCaptioner": "captioner.photos.captioner",
    "Vocab": "captioner.data.vocabulary",
    "evaluate": "captioner.api",
    "load": "captioner.api",
    "resume": "captioner.api",
    "train": "captioner.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'captioner' has no attribute {name!r}")
    from captioner.errors import check_platform

    check_platform()
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
