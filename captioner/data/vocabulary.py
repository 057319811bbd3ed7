"""The vocabulary: words and their ids; and words joined to a sentence."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from captioner.errors import DataError, printable, quoted

NULL, START, END, UNK = "<NULL>", "<START>", "<END>", "<UNK>"
SPECIAL = (NULL, START, END, UNK)


class Vocab:
    """Two-way mapping between words and ids; an id is the index of a word in `words`.

    Raises: DataError for a duplicate word, a word that is not printable, or a missing special token.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.words: tuple[str, ...] = tuple(words)
        self.word_to_idx: Mapping[str, int] = {word: i for i, word in enumerate(self.words)}
        if len(self.word_to_idx) < len(self.words):
            duplicate = next(w for i, w in enumerate(self.words) if self.word_to_idx[w] != i)
            raise DataError(f"vocabulary: duplicate word {quoted(duplicate)}; each word needs one id")
        if unprintable := [word for word in self.words if printable(word, len(word)) != word]:
            raise DataError(f"vocabulary: {quoted(unprintable[0])}: expected printable words, got control characters")
        for token in SPECIAL:
            if token not in self.word_to_idx:
                raise DataError(f"vocabulary: {token} is missing; expected all of {' '.join(SPECIAL)}")
        self.null, self.start, self.end, self.unk = (self.word_to_idx[token] for token in SPECIAL)

    def __len__(self) -> int:
        return len(self.words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocab) and self.words == other.words

    def __hash__(self) -> int:
        return hash(self.words)

    @classmethod
    def read(cls, words: Iterable[str], where: object) -> Vocab:
        """Return the vocabulary of words from a file, which a DataError names."""
        try:
            return cls(words)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error

    @classmethod
    def build(cls, captions: Iterable[Sequence[str]], min_count: int = 1, max_words: int | None = None) -> Vocab:
        """Build a vocabulary from tokenized captions: special tokens, then words by descending count and code point.

        Words that occur fewer than `min_count` times are excluded, and so are the rarest beyond `max_words`.
        """
        counts = Counter(word for words in captions for word in words)
        frequent = [word for word, count in counts.items() if count >= min_count and word not in SPECIAL]
        return cls((*SPECIAL, *sorted(frequent, key=lambda word: (-counts[word], word))[:max_words]))

    def union(self, other: Vocab) -> Vocab:
        """Return a vocabulary with these ids, followed by the words that only `other` has."""
        return Vocab(dict.fromkeys((*self.words, *other.words)))

    def digest(self) -> hashlib._Hash:
        """Return the SHA-256 of the words in the order of their ids."""
        return hashlib.sha256("\n".join(self.words).encode())

    def ids(self, words: Sequence[str]) -> list[int]:
        """Encode one caption as `<START> w1 .. wn <END>`; unknown words become `<UNK>`."""
        return [self.start, *(self.word_to_idx.get(word, self.unk) for word in words), self.end]

    def encode(self, captions: Sequence[Sequence[str]]) -> NDArray[np.int32]:
        """Encode each caption as `<START> w1 .. wn <END> <NULL> ...`; unknown words become `<UNK>`.

        Shapes: N lists of words -> (N, T) int32, T = 2 + words of the longest caption.
        """
        rows = np.full((len(captions), 2 + max(map(len, captions), default=0)), self.null, np.int32)
        for row, words in zip(rows, captions, strict=True):
            row[: len(words) + 2] = self.ids(words)
        return rows

    def unpadded(self, captions: NDArray[np.integer]) -> list[list[int]]:
        """Remove the padding `<NULL>` from captions.

        Shapes: (N, T) -> N lists.
        """
        return [[i for i in ids if i != self.null] for ids in captions.tolist()]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Decode one caption to words, up to `<END>`, without `<NULL>` and `<START>`."""
        words: list[str] = []
        for i in ids:
            if i == self.end:
                break
            if i not in (self.null, self.start):
                words.append(self.words[i])
        return words


VOCABULARIES: Mapping[str, Callable[[Vocab, Vocab], Vocab]] = {
    "union": Vocab.union,
    "data_set": lambda base, data_set: data_set,
}
"""The vocabulary of a fine-tuned model (`data.vocabulary`), from those of its base model and of the data set."""


def join(words: Iterable[str]) -> str:
    """Join tokens to a text that `tokenize` splits into the same tokens, without spaces before clitics or CJK words.

    >>> join(["the", "dog", "'s", "ball", "is", "n't", "red"])
    "the dog's ball isn't red"
    """
    text = ""
    for word in words:
        text += word if not text or _attaches(text, word) else f" {word}"
    return text


def _attaches(text: str, word: str) -> bool:
    if word.isascii() and "'" not in word:
        return False
    from captioner.data.tokenizer import CLITICS, is_cjk, tokenize  # most captions do not need its large patterns

    if is_cjk(word):
        return is_cjk(text[-1]) is not None and tokenize(text[-1] + word) == [text[-1], word]
    if word in CLITICS:
        last = text.rpartition(" ")[2]
        return tokenize(last + word) == [*tokenize(last), word]
    return False
