"""The seals of checkpoints and of models; this module needs neither NumPy nor HDF5."""

from __future__ import annotations

from pathlib import Path

from captioner.errors import CheckpointError
from captioner.storage.sealed import Seal

SEAL = Seal("checkpoint", version=2, writer="`captioner train`", max_bytes=8 << 30, error=CheckpointError)
MODEL = Seal(
    "model",
    version=1,
    writer="`captioner package`",
    max_bytes=1 << 30,
    error=CheckpointError,
    remedy="install it again",
)
"""The file of a model package: a checkpoint with float16 parameters and without optimizer state."""


def digest(path: Path) -> str:
    """Return the SHA-256 digest in the seal of a checkpoint or a model. Raises: CheckpointError for another file."""
    with (MODEL if MODEL.matches(path) else SEAL).open(path) as (_, found):
        return found
