"""Several restored models that write captions as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from captioner.config.options import Config
from captioner.decode import Ensemble
from captioner.errors import CheckpointError
from captioner.images import are_same
from captioner.inference.restore import Speaker, check_width, other_words
from captioner.storage.checkpoint import Meta
from captioner.text.vocabulary import Vocab


@dataclass(frozen=True)
class Together:
    """Models of one vocabulary and encoder; options, and names in messages, are those of the first."""

    path: Path
    config: Config
    vocab: Vocab
    model: Ensemble
    meta: Meta


def together(speakers: Speaker | Sequence[Speaker]) -> Speaker:
    """One speaker of several, whose probabilities are averaged word by word; one alone stays as it is.

    Raises: CheckpointError when one has another vocabulary, encoder or width of features than the first.
    """
    if not isinstance(speakers, Sequence):
        return speakers
    first, *others = speakers
    for other in others:
        if other.vocab != first.vocab:
            raise CheckpointError(
                f"{other.path}: vocabulary: expected the {len(first.vocab)} words of {first.path}, "
                f"got {other_words(first.vocab, other.vocab)}; models with one vocabulary speak together"
            )
        if not are_same(other.meta.encoder, first.meta.encoder):
            raise CheckpointError(
                f"{other.path}: features: expected those of encoder {first.meta.encoder} as in {first.path}, "
                f"got {other.meta.encoder}; models of one encoder speak together"
            )
        check_width(first, other.meta.feature_dim, str(other.path))
    if not others:
        return first
    return Together(first.path, first.config, first.vocab, Ensemble([one.model for one in speakers]), first.meta)
