"""Text -> words, and words -> text.

>>> tokenize("A man's well-worn hat, isn't it? 猫 😀")
['a', 'man', "'s", 'well-worn', 'hat', 'is', "n't", 'it', '猫', '😀']
>>> join(tokenize("The dog's ball isn't red."))
"the dog's ball isn't red"
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

CJK = "\u3005\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003fa1f"
"""Kana and Han characters, which are written without spaces: each is taken for a word."""

KEPT = frozenset("%&#@*/")
"""Punctuation that stands for a word; the caption metrics keep it, too."""

_INNER = "'.,-"
_RUN = rf"[^\s{CJK}{_INNER}]+"
_PIECES = re.compile(rf"[{CJK}]|{_RUN}(?:(?:[-']|(?<=\d)[.,](?=\d)|(?<=\b\w)\.(?=\w\b)){_RUN})*")
_CLITIC = re.compile(r"(.+?)(n't|'(?:s|m|d|re|ve|ll))")
_IS_CJK = re.compile(f"[{CJK}]").fullmatch
_IS_INVISIBLE = re.compile("[\u034f\u17b4\u17b5\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]").fullmatch
"""Marks without a shape of their own, such as the one that gives an emoji its colours."""
_REPEATED = re.compile("([\u200c\u200d])[\u200c\u200d]+")
_OUTSIDE = re.compile("(?<![\u0600-\u1cff])[\u200c\u200d]|[\u200c\u200d](?![\u0600-\u1cff])")
"""Joiners (ZWNJ, ZWJ) are letters inside words of scripts from Arabic on, such as Persian and Hindi, and nothing
elsewhere.
"""
_BLANK = "_\u115f\u1160\u2800\u3164\uffa0"
"""Letters and symbols that are blank: Hangul fillers, and Braille without dots."""


class _Table(dict[int, str]):
    """What becomes of each character: itself, a space (punctuation, controls), or nothing (invisible marks)."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if code in (0x200C, 0x200D):
            kept = character
        elif category == "Cf" or _IS_INVISIBLE(character):
            kept = ""
        elif category[0] in "LMN" or character in _INNER:
            kept = character
        elif (category[0] == "S" and character not in "`´^") or character in KEPT:
            kept = f" {character} "
        else:
            kept = " "
        self[code] = kept
        return kept


_TABLE = _Table({ord("\u2018"): "'", ord("\u2019"): "'", ord("\u2010"): "-", ord("\u2011"): "-"})
_TABLE |= dict.fromkeys(map(ord, _BLANK), " ")


def tokenize(text: str) -> list[str]:
    """The words of a text, in lower case.

    A word is a run of letters, marks and digits of any script, with single hyphens, apostrophes and joiners inside
    (points and commas too in numbers, points in abbreviations), or one symbol, or one Han or Kana character. English
    clitics ('s, n't, 're ...) are words of their own, as in the Penn Treebank. Punctuation is dropped: what the
    tokenizer of the caption metrics drops, and brackets too.
    """
    plain = unicodedata.normalize("NFC", text).lower().translate(_TABLE)
    plain = _OUTSIDE.sub("", _REPEATED.sub(r"\1", plain))
    words: list[str] = []
    # once more, since a letter in lower case, or without the invisible mark behind it, may compose with an accent
    for word in _PIECES.findall(unicodedata.normalize("NFC", plain)):
        words += _apart(word) if "'" in word else (word,)
    return words


def _apart(word: str) -> list[str]:
    """A word and the clitics at its end: I'd've -> i 'd 've."""
    clitics: list[str] = []
    while clitic := _CLITIC.fullmatch(word):
        word = clitic[1].rstrip(_INNER)
        clitics.insert(0, clitic[2])
    return [word, *clitics]


def join(words: Iterable[str]) -> str:
    """Words as a text that `tokenize` takes apart again: clitics stand close, and Han and Kana characters too."""
    text = ""
    for word in words:
        text += word if not text or _stands_close(text, word) else f" {word}"
    return text


def _stands_close(text: str, word: str) -> bool:
    if _IS_CJK(word):
        return _IS_CJK(text[-1]) is not None and tokenize(text[-1] + word) == [text[-1], word]
    if _CLITIC.fullmatch("x" + word):
        last = text.rpartition(" ")[2]
        return tokenize(last + word) == [*tokenize(last), word]
    return False
