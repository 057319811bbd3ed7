"""A caption of one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from captioner.inference.attention import Attention


class Candidate(NamedTuple):
    """A caption and its log-probability: natural, of the whole caption, without length normalization."""

    text: str
    log_prob: float


class Caption(NamedTuple):
    """The best caption of an image, with its reference captions if they are known.

    `true` says whether the caption is true of the image, or is None if the data set cannot check it. `candidates` are
    the n best captions, best first; the first of them is the caption itself. `attention` has the attention weights of
    the caption's words, if they were asked for.
    """

    image: str
    text: str
    log_prob: float
    references: list[str]
    true: bool | None
    candidates: list[Candidate]
    attention: Attention | None = None


class Decoded(NamedTuple):
    """The n best captions of an image, best first, and the attention of the first if it was asked for."""

    candidates: list[Candidate]
    attention: Attention | None = None

    def caption(self, image: str, references: Sequence[str] = (), true: bool | None = None) -> Caption:
        """Return the best caption, for an image of this name."""
        return Caption(image, *self.candidates[0], list(references), true, self.candidates, self.attention)


def to_record(caption: Caption) -> dict[str, Any]:
    """The caption as a JSON object without its attention; `candidates` only if there are several."""
    record = caption._asdict()
    del record["attention"]
    record = {"image": record.pop("image"), "caption": record.pop("text"), **record}
    if len(caption.candidates) > 1:
        record["candidates"] = [{"caption": text, "log_prob": log_prob} for text, log_prob in caption.candidates]
    else:
        del record["candidates"]
    return record
