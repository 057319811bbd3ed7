"""Detect the run in a folder by its contents: other programs may use the names of its files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from captioner.config.yaml_io import dump, parse
from captioner.errors import CaptionerError
from captioner.storage.files import read_text
from captioner.storage.sealed import SEAL
from captioner.training.history import first_record


def is_run_config(path: Path) -> bool:
    """Return whether a file is a config as `captioner train` writes it: every option, without comments."""
    try:
        text = read_text(path)
        return dump(parse(text, str(path))) == text
    except CaptionerError:
        return False


def holds_run(checkpoints: Iterable[Path], history: Path, config: Path) -> bool:
    """Return whether one of these files is that of a run, finished or not; missing files are not."""
    return any(map(SEAL.matches, checkpoints)) or first_record(history) is not None or is_run_config(config)
