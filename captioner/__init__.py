"""Image captioners with vanilla-RNN and LSTM decoders, written by hand in NumPy.

The names below are imported when they are first used, so that `captioner --help` needs no NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captioner.config import Config
    from captioner.errors import CaptionerError
    from captioner.model import CaptioningRNN
    from captioner.run.sample import describe, open_run
    from captioner.run.train import resume, train
    from captioner.vocab import Vocab

__version__ = "0.1.0"
__all__ = ["CaptionerError", "CaptioningRNN", "Config", "Vocab", "describe", "open_run", "resume", "train"]

_HOMES = {
    "CaptionerError": "captioner.errors",
    "CaptioningRNN": "captioner.model",
    "Config": "captioner.config",
    "Vocab": "captioner.vocab",
    "describe": "captioner.run.sample",
    "open_run": "captioner.run.sample",
    "resume": "captioner.run.train",
    "train": "captioner.run.train",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'captioner' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
