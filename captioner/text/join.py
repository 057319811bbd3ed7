"""Join tokens to text.

>>> join(["the", "dog", "'s", "ball", "is", "n't", "red"])
"the dog's ball isn't red"
"""

from __future__ import annotations

from collections.abc import Iterable


def join(words: Iterable[str]) -> str:
    """Join tokens to a text that `tokenize` splits into the same tokens, without spaces before clitics or CJK words."""
    text = ""
    for word in words:
        text += word if not text or _attaches(text, word) else f" {word}"
    return text


def _attaches(text: str, word: str) -> bool:
    if word.isascii() and "'" not in word:
        return False
    from captioner.text.tokenizer import CLITICS, is_cjk, tokenize  # most captions do not need its large patterns

    if is_cjk(word):
        return is_cjk(text[-1]) is not None and tokenize(text[-1] + word) == [text[-1], word]
    if word in CLITICS:
        last = text.rpartition(" ")[2]
        return tokenize(last + word) == [*tokenize(last), word]
    return False
