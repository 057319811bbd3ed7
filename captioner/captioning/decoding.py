"""The decoding method that a config describes: greedy, beam search or sampling, with constraints on the words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from captioner.arrays import Array
from captioner.config.option_table import MAX_SHOWN, closest
from captioner.config.options import SAMPLING, Decode
from captioner.data.vocabulary import END, NULL, SPECIAL, START, Vocab
from captioner.decode import Constraints, beam, greedy, sample
from captioner.errors import ConfigError, UsageError, printable

ENDS_EARLY = "the model predicts <END> too early; train it longer, or try -o decode.min_length=5"
"""Why captions are empty, and what to try."""


class DecodingMethod(NamedTuple):
    """A decoding function, and the number of captions per image that it keeps in memory.

    Shapes: step, state, images (N,) and, for guided beam search, guidance (N, V) -> tokens (N, K, T), scores (N, K).
    """

    decode: Callable[..., tuple[Array, Array]]
    width: int


def decoding_method(options: Decode, vocab: Vocab, n_best: int = 1) -> DecodingMethod:
    """Return the decoding method, which returns at least the `n_best` captions of each image.

    Raises: ConfigError for banned words that the vocabulary lacks.
    """
    arguments = decoding_arguments(vocab, options.max_length, build_constraints(options, vocab))
    return METHODS[options.method](options, n_best, arguments)


def build_constraints(options: Decode, vocab: Vocab) -> Constraints:
    """Build the constraints on the words of a caption. Raises: ConfigError for words that the vocabulary lacks."""
    banned = [vocab.null, vocab.start, *_suppressed_ids(options.suppress_words, vocab)]
    if options.suppress_unk:
        banned.append(vocab.unk)
    return Constraints(banned, options.min_length, options.no_repeat_ngram or 0)


def decoding_arguments(vocab: Vocab, max_length: int, constraints: Constraints) -> dict[str, Any]:
    """Return the keyword arguments that all decoding methods share."""
    ids = {"start": vocab.start, "end": vocab.end, "null": vocab.null}
    return {**ids, "max_length": max_length, "constraints": constraints}


def _search(options: Decode, n_best: int, arguments: dict[str, Any]) -> DecodingMethod:
    width = max(options.beam_width, n_best)
    decode = greedy if width == 1 else partial(beam, width=width, length_penalty=options.length_penalty)
    return DecodingMethod(lambda step, state, images, *guidance: decode(step, state, *guidance, **arguments), width)


def _sampling(options: Decode, n_best: int, arguments: dict[str, Any]) -> DecodingMethod:
    settings: dict[str, Any] = {name: getattr(options, name) for name in SAMPLING}
    return DecodingMethod(partial(sample, samples=n_best, **settings, **arguments), n_best)


METHODS: Mapping[str, Callable[[Decode, int, dict[str, Any]], DecodingMethod]] = {
    "beam": _search,
    "sampling": _sampling,
}


def _suppressed_ids(text: str | None, vocab: Vocab) -> list[int]:
    words = [word for part in (text or "").split(",") if (word := part.strip())]
    if problem := _unknown(words, vocab, SPECIAL):
        raise ConfigError([f"decode.suppress_words: {problem}"])
    return [vocab.word_to_idx[word] for word in words]


def word_ids(words: Sequence[str], vocab: Vocab) -> list[int]:
    """Return the ids of the first words of a caption. Raises: UsageError for words that the vocabulary lacks."""
    if problem := _unknown(words, vocab, (NULL, START, END)):
        raise UsageError(f"next_words: words: {problem}")
    return [vocab.word_to_idx[word] for word in words]


def _unknown(words: Sequence[str], vocab: Vocab, excluded: Sequence[str]) -> str:
    """Return a problem that names the words that the vocabulary lacks, or "" if there are none."""
    known = [word for word in vocab.words if word not in excluded]
    unknown = sorted({str(word) for word in words} - set(known))
    hint = closest(unknown[0], known) if known and unknown else ""
    return f"expected words of the vocabulary, got {printable(', '.join(unknown), MAX_SHOWN)}{hint}" if unknown else ""
