"""Words and their ids, with the four special tokens of CS231n."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from captioner.errors import DataError
from captioner.printable import printable, quoted

NULL, START, END, UNK = "<NULL>", "<START>", "<END>", "<UNK>"
SPECIAL = (NULL, START, END, UNK)


class Vocab:
    """A two-way table between words and ids; an id is a word's place in `words`.

    Raises: DataError when a word stands twice or is not printable, or a special token is missing.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.words: tuple[str, ...] = tuple(words)
        self.word_to_idx: Mapping[str, int] = {word: i for i, word in enumerate(self.words)}
        if len(self.word_to_idx) < len(self.words):
            twice = next(w for i, w in enumerate(self.words) if self.word_to_idx[w] != i)
            raise DataError(f"vocabulary: {quoted(twice)} stands twice; each word needs one id")
        if odd := [word for word in self.words if printable(word, len(word)) != word]:
            raise DataError(f"vocabulary: {quoted(odd[0])}: expected printable words, got control characters")
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
    def build(cls, captions: Iterable[Sequence[str]], min_count: int = 1, most: int | None = None) -> Vocab:
        """Collect the words of tokenised captions: the special tokens first, then by falling count, then by letter.

        Words that come less than `min_count` times stay out, and so do the rarest beyond `most`.
        """
        counts = Counter(word for words in captions for word in words)
        often = [word for word, count in counts.items() if count >= min_count and word not in SPECIAL]
        return cls((*SPECIAL, *sorted(often, key=lambda word: (-counts[word], word))[:most]))

    def encode(self, captions: Sequence[Sequence[str]]) -> NDArray[np.int32]:
        """Write each caption as `<START> w1 .. wn <END> <NULL> ...`; an unknown word becomes `<UNK>`.

        Shapes: N lists of words -> (N, T) int32, T = 2 + the longest caption.
        """
        rows = np.full((len(captions), 2 + max(map(len, captions), default=0)), self.null, np.int32)
        for row, words in zip(rows, captions, strict=True):
            ids = [self.start, *(self.word_to_idx.get(word, self.unk) for word in words), self.end]
            row[: len(ids)] = ids
        return rows

    def unpadded(self, captions: NDArray[np.integer]) -> list[list[int]]:
        """The ids of captions without `<NULL>`.

        Shapes: (N, T) -> N lists.
        """
        return [[i for i in ids if i != self.null] for ids in captions.tolist()]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The words of one caption: up to `<END>`, without `<NULL>` and `<START>`."""
        words: list[str] = []
        for i in ids:
            if i == self.end:
                break
            if i not in (self.null, self.start):
                words.append(self.words[i])
        return words
