"""Tokenize captions.

>>> tokenize("A man's well-worn hat, isn't it? 猫 😀")
['a', 'man', "'s", 'well-worn', 'hat', 'is', "n't", 'it', '猫', '😀']"""

from __future__ import annotations

import re
import unicodedata

CJK = "\u3005\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003fa1f"
"""Kana and Han characters, written without spaces: each is one token."""

KEPT_PUNCTUATION = frozenset("%&#@*/")
"""Punctuation that is a token; the PTB tokenizer of the metrics keeps it too."""

CLITICS = ("n't", "'s", "'m", "'d", "'re", "'ve", "'ll")
_INNER = "'.,-"
_RUN = rf"[^\s{CJK}{_INNER}]+"
_PIECES = re.compile(rf"[{CJK}]|{_RUN}(?:(?:[-']|(?<=\d)[.,](?=\d)|(?<=\b\w)\.(?=\w\b)){_RUN})*")
is_cjk = re.compile(f"[{CJK}]").fullmatch
_IS_INVISIBLE = re.compile("[\u034f\u17b4\u17b5\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]").fullmatch
"""Invisible marks, such as emoji variation selectors."""
_REPEATED = re.compile("([\u200c\u200d])[\u200c\u200d]+")
_OUTSIDE = re.compile("(?<![\u0600-\u1cff])[\u200c\u200d]|[\u200c\u200d](?![\u0600-\u1cff])")
"""Joiners (ZWNJ, ZWJ) outside words of scripts from Arabic on (Persian, Hindi ...), where they have no meaning."""
_BLANK = "_\u115f\u1160\u2800\u3164\uffa0"
"""Letters and symbols without ink: Hangul fillers, blank Braille."""


class _CharacterTable(dict[int, str]):
    """Translation table: a character maps to itself, a space (punctuation, controls) or nothing (invisible marks)."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if code in (0x200C, 0x200D):
            kept = character
        elif category == "Cf" or _IS_INVISIBLE(character):
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


def normalize(text: str) -> str:
    """Return a text in the Unicode form of tokens: NFC, without invisible characters."""
    if text.isascii():
        return text
    visible = "".join(character for character in unicodedata.normalize("NFC", text) if _TABLE[ord(character)])
    return unicodedata.normalize("NFC", _OUTSIDE.sub("", _REPEATED.sub(r"\1", visible)))


def tokenize(text: str) -> list[str]:
    """Split a text into lower-case tokens.

    A token is a run of letters, marks and digits of any script, with single hyphens, apostrophes and joiners inside
    (also points and commas in numbers, points in abbreviations), or one symbol, or one Han or Kana character. English
    clitics ('s, n't, 're ...) are separate tokens, as in the Penn Treebank. The punctuation that the PTB tokenizer of
    the metrics drops is dropped, and so are brackets.
    """
    plain = unicodedata.normalize("NFC", text).lower().translate(_TABLE)
    plain = _OUTSIDE.sub("", _REPEATED.sub(r"\1", plain))
    words: list[str] = []
    # normalize again: lower-casing or removing an invisible mark may bring a letter next to a combining accent
    for word in _PIECES.findall(unicodedata.normalize("NFC", plain)):
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
