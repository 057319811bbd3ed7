"""Words: captions split into tokens, the vocabulary with the id of each, and tokens joined to a sentence.

>>> tokenize("A man's well-worn hat, isn't it? 猫 😀")
['a', 'man', "'s", 'well-worn', 'hat', 'is', "n't", 'it', '猫', '😀']
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from captioner.errors import DataError, printable, quoted

CJK = "\u3005\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003fa1f"
"""Kana and Han characters, written without spaces: each is one token."""

KEPT_PUNCTUATION = frozenset("%&#@*/")
"""Punctuation that is a token; the PTB tokenizer of the metrics keeps it too."""

CLITICS = ("n't", "'s", "'m", "'d", "'re", "'ve", "'ll")
_INNER = "'.,-"
_RUN = rf"[^\s{CJK}{_INNER}]+"
_PIECES = rf"[{CJK}]|{_RUN}(?:(?:[-']|(?<=\d)[.,](?=\d)|(?<=\b\w)\.(?=\w\b)){_RUN})*"
_INVISIBLE = "[\u034f\u17b4\u17b5\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]"
"""Invisible marks, such as emoji variation selectors."""
_REPEATED = "([\u200c\u200d])[\u200c\u200d]+"
_OUTSIDE = "(?<![\u0600-\u1cff])[\u200c\u200d]|[\u200c\u200d](?![\u0600-\u1cff])"
"""Joiners (ZWNJ, ZWJ) outside words of scripts from Arabic on (Persian, Hindi ...), where they have no meaning."""
_BLANK = "_\u115f\u1160\u2800\u3164\uffa0"
"""Letters and symbols without ink: Hangul fillers, blank Braille."""


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    """Compile at the first use: captioning photographs needs none of the large patterns, which take 9 ms."""
    return re.compile(pattern)


def is_cjk(character: str) -> bool:
    return _pattern(f"[{CJK}]").fullmatch(character) is not None


class _CharacterTable(dict[int, str]):
    """Translation table: a character maps to itself, a space (punctuation, controls) or nothing (invisible marks)."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if code in (0x200C, 0x200D):
            kept = character
        elif category == "Cf" or _pattern(_INVISIBLE).fullmatch(character):
            kept = ""
        elif category[0] in "LMN" or character in _INNER:
            kept = character
        elif (category[0] == "S" and character not in "`´^") or character in KEPT_PUNCTUATION:
            kept = f" {character} "
        else:
            kept = " "
        self[code] = kept
        return kept


_TABLE = _CharacterTable({ord("\u2018"): "'", ord("\u2019"): "'", ord("\u2010"): "-", ord("\u2011"): "-"})
_TABLE |= dict.fromkeys(map(ord, _BLANK), " ")


def _without_stray_joiners(text: str) -> str:
    return _pattern(_OUTSIDE).sub("", _pattern(_REPEATED).sub(r"\1", text))


def normalize(text: str) -> str:
    """Return a text in the Unicode form of tokens: NFC, without invisible characters."""
    if text.isascii():
        return text
    visible = "".join(character for character in unicodedata.normalize("NFC", text) if _TABLE[ord(character)])
    return unicodedata.normalize("NFC", _without_stray_joiners(visible))


def tokenize(text: str) -> list[str]:
    """Split a text into lower-case tokens.

    A token is a run of letters, marks and digits of any script, with single hyphens, apostrophes and joiners inside
    (also points and commas in numbers, points in abbreviations), or one symbol, or one Han or Kana character. English
    clitics ('s, n't, 're ...) are separate tokens, as in the Penn Treebank. The punctuation that the PTB tokenizer of
    the metrics drops is dropped, and so are brackets.
    """
    plain = unicodedata.normalize("NFC", text).lower().translate(_TABLE)
    plain = _without_stray_joiners(plain)
    words: list[str] = []
    # normalize again: lower-casing or removing an invisible mark may bring a letter next to a combining accent
    for word in _pattern(_PIECES).findall(unicodedata.normalize("NFC", plain)):
        words += _split_clitics(word) if "'" in word else (word,)
    return words


def _split_clitics(word: str) -> list[str]:
    """Split the clitics off the end of a word: i'd've -> i 'd 've."""
    clitics: list[str] = []
    end = len(word)
    while clitic := next((c for c in CLITICS if len(c) < end and word.endswith(c, 0, end)), None):
        clitics.append(clitic)
        end -= len(clitic)
        while end and word[end - 1] in _INNER:
            end -= 1
    return [word[:end], *reversed(clitics)]


NULL, START, END, UNK = "<NULL>", "<START>", "<END>", "<UNK>"
SPECIAL = (NULL, START, END, UNK)
LONGEST_WORD = 1000
"""Characters of a word: an array of words has the width of the longest."""


class Vocab:
    """Two-way mapping between words and ids; an id is the index of a word in `words`.

    Raises: DataError for a duplicate word, one that is not printable, has spaces or is too long, or a missing special
    token.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.words: tuple[str, ...] = tuple(words)
        self.word_to_idx: Mapping[str, int] = {word: i for i, word in enumerate(self.words)}
        if len(self.word_to_idx) < len(self.words):
            duplicate = next(w for i, w in enumerate(self.words) if self.word_to_idx[w] != i)
            raise DataError(f"vocabulary: duplicate word {quoted(duplicate)}; each word needs one id")
        for i, word in enumerate(self.words):
            if len(word) > LONGEST_WORD:
                raise DataError(
                    f"vocabulary: word {i}: expected at most {LONGEST_WORD:,} characters, got {len(word):,}"
                )
            if word.split() != [word] or printable(word, LONGEST_WORD) != word:
                raise DataError(f"vocabulary: word {i}: expected a printable word without spaces, got {quoted(word)}")
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
    def build(cls, captions: Iterable[Sequence[str]], min_count: int = 1) -> Vocab:
        """Build a vocabulary from tokenized captions: special tokens, then words by descending count and code point.

        Words that occur fewer than `min_count` times or are too long are excluded.
        """
        counts = Counter(word for words in captions for word in words if len(word) <= LONGEST_WORD)
        frequent = [word for word, count in counts.items() if count >= min_count and word not in SPECIAL]
        return cls((*SPECIAL, *sorted(frequent, key=lambda word: (-counts[word], word))))

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
    if is_cjk(word):
        return is_cjk(text[-1]) and tokenize(text[-1] + word) == [text[-1], word]
    if word in CLITICS:
        last = text.rpartition(" ")[2]
        return tokenize(last + word) == [*tokenize(last), word]
    return False
