"""A caption of one image."""

from __future__ import annotations

from typing import Any, NamedTuple


class Candidate(NamedTuple):
    """A caption and its log-probability: natural, of the whole caption, without length normalization."""

    text: str
    log_prob: float


class Caption(NamedTuple):
    """The best caption of an image, with its reference captions if they are known.

    `true` says whether the caption is true of the image, or is None if the data set cannot check it. `candidates` are
    the n best captions, best first; the first of them is the caption itself.
    """

    image: str
    text: str
    log_prob: float
    references: list[str]
    true: bool | None
    candidates: list[Candidate]


def to_record(caption: Caption) -> dict[str, Any]:
    """The caption as a JSON object; `candidates` only if there are several."""
    record = caption._asdict()
    record = {"image": record.pop("image"), "caption": record.pop("text"), **record}
    if len(caption.candidates) > 1:
        record["candidates"] = [{"caption": text, "log_prob": log_prob} for text, log_prob in caption.candidates]
    else:
        del record["candidates"]
    return record
