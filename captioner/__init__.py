"""Image captioners with vanilla-RNN and LSTM decoders, written by hand in NumPy.

The names below are imported when they are first used, so that `captioner --help` needs no NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captioner.config.options import Config
    from captioner.errors import CaptionerError
    from captioner.inference.captions import describe, open_run
    from captioner.model.captioning_rnn import CaptioningRNN
    from captioner.text.vocabulary import Vocab
    from captioner.training.train import resume, train

__version__ = "0.1.0"
__all__ = ["CaptionerError", "CaptioningRNN", "Config", "Vocab", "describe", "open_run", "resume", "train"]

_HOMES = {
    "CaptionerError": "captioner.errors",
    "CaptioningRNN": "captioner.model.captioning_rnn",
    "Config": "captioner.config.options",
    "Vocab": "captioner.text.vocabulary",
    "describe": "captioner.inference.captions",
    "open_run": "captioner.inference.captions",
    "resume": "captioner.training.train",
    "train": "captioner.training.train",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'captioner' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
