"""The words that a model writes: most used, never used, `<UNK>`, and captions that it repeats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from captioner.data.corpus import Split
from captioner.errors import printable
from captioner.text.tokenizer import tokenize
from captioner.text.vocabulary import SPECIAL, Vocab

MAX_WORDS, MAX_CAPTIONS = 25, 10
MAX_TEXT = 80


@dataclass(frozen=True)
class WordUse:
    """The words of the captions of a run: a summary, and tables of words and captions.

    `rows` are words with the share of captions and of references that contain them; `never` are words of the vocabulary
    that the run does not use, with their number in the references.
    """

    run: str
    number: int
    summary: str
    rows: list[WordShare]
    never: list[list[str]]
    repeated: list[list[str]]


@dataclass(frozen=True)
class WordShare:
    """A word, and the shares of the captions and of the references that contain it."""

    word: str
    captions: float
    references: float


def word_use(
    run: str, number: int, captions: Sequence[str], scores: dict[str, Any], split: Split, vocab: Vocab
) -> WordUse:
    """Count the words of one caption per image; `vocab` is that of the split and of the model."""
    tokens = [set(tokenize(caption)) for caption in captions]
    used = Counter(word for words in tokens for word in words)
    per_caption = _references_with(split, vocab)
    total = max(len(split.captions), 1)
    rows = [
        WordShare(printable(word, MAX_TEXT), count / max(len(captions), 1), per_caption.get(word, 0) / total)
        for word, count in used.most_common(MAX_WORDS)
    ]
    known = [word for word in vocab.words if word not in SPECIAL]
    unused = sorted((word for word in known if word not in used), key=lambda word: -per_caption.get(word, 0))
    repeated = [(caption, count) for caption, count in Counter(captions).most_common(MAX_CAPTIONS) if count > 1]
    missing = [word for word in unused if per_caption.get(word, 0)]
    summary = (
        f"{len(known) - len(unused):,} of {len(known):,} words of the vocabulary are used, {len(missing):,} words of "
        f"the references are not. {scores['unk']:.1%} of the words are <UNK>, and {scores['distinct']:,} of "
        f"{len(captions):,} captions are distinct."
    )
    return WordUse(
        run,
        number,
        summary,
        rows,
        [[printable(word, MAX_TEXT), f"{per_caption[word]:,}"] for word in missing[:MAX_WORDS]],
        [[printable(caption or "(no words)", MAX_TEXT), f"{count:,}"] for caption, count in repeated],
    )


def _references_with(split: Split, vocab: Vocab) -> dict[str, int]:
    """Count the references that contain each word of the vocabulary."""
    ids = np.sort(split.captions, axis=1)
    first = np.ones(ids.shape, bool)
    first[:, 1:] = ids[:, 1:] != ids[:, :-1]
    counts = np.bincount(ids[first], minlength=len(vocab)).tolist()
    return {word: count for word, count in zip(vocab.words, counts, strict=True) if word not in SPECIAL}
