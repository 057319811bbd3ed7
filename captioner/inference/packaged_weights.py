"""Read the weights of a model package, and check that its parts belong together."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from captioner.errors import CheckpointError
from captioner.images.recipe import same_encoder
from captioner.inference.package_info import check_seal, in_package, read_info
from captioner.printable import printable
from captioner.storage import checkpoint
from captioner.storage.checkpoint import Checkpoint
from captioner.storage.sealed import MODEL

LONGEST = 100
"""Maximum characters of the identity of an encoder in a message."""


def load_checkpoint(path: Path, slots: Collection[str] | None) -> Checkpoint:
    """Read a checkpoint, as `checkpoint.load`, or the weights of a model package.

    Raises: CheckpointError.
    """
    if in_package(path) or MODEL.matches(path):
        return load_packaged(path)
    return checkpoint.load(path, slots)


def load_packaged(path: Path) -> Checkpoint:
    """Read the weights of a model package, in float16, after checking them against its description.

    Raises: CheckpointError, which names the model, for a damaged file, or a description of other weights.
    """
    info = read_info(path.parent)
    try:
        check_seal(path, info)
        saved = checkpoint.load(path, (), MODEL)
        meta = saved.meta
        if not same_encoder(meta.encoder, info.encoder):
            expected, got = (printable(one, LONGEST) for one in (info.encoder, meta.encoder))
            raise CheckpointError(f"{path}: expected weights for encoder {expected}, got {got}; install it again")
        if len(meta.words) != info.words:
            raise CheckpointError(
                f"{path}: vocabulary: expected {info.words:,} words, got {len(meta.words):,}; install it again"
            )
    except CheckpointError as error:
        raise CheckpointError(f"model {info.name}: {error}") from error
    return saved
