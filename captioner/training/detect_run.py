"""Detect the run in a folder by its contents: other programs may use the names of its files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from captioner.config.yaml_io import dump, parse
from captioner.errors import CaptionerError
from captioner.storage.checkpoint import SEAL
from captioner.storage.files import read_text, regular_file
from captioner.training.history import KINDS

LINE_LIMIT = 1 << 16


def is_run_config(path: Path) -> bool:
    """Return whether a file is a config as `captioner train` writes it: every option, without comments."""
    try:
        text = read_text(path)
        return dump(parse(text, str(path))) == text
    except CaptionerError:
        return False


def is_history(path: Path) -> bool:
    """Return whether a file begins like the history of a run."""
    try:
        with regular_file(path) as descriptor:
            line = os.read(descriptor, LINE_LIMIT).partition(b"\n")[0]
        record = json.loads(line)
    except (CaptionerError, ValueError, RecursionError):
        return False
    return isinstance(record, dict) and record.get("kind") in KINDS and "step" in record


def holds_run(checkpoints: Iterable[Path], history: Path, config: Path) -> bool:
    """Return whether one of these files is that of a run, finished or not; missing files are not."""
    return any(map(SEAL.matches, checkpoints)) or is_history(history) or is_run_config(config)
