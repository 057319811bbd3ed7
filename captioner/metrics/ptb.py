"""Penn Treebank (PTB) tokenizer of the caption metrics, with lower-casing and without punctuation.

>>> ptb_tokenize("A man's well-worn hat (red), isn't it?")
['a', 'man', "'s", 'well-worn', 'hat', '-lrb-', 'red', '-rrb-', 'is', "n't", 'it']
"""

from __future__ import annotations

import re

PUNCTUATION = frozenset(("''", "'", "``", "`", '"', ".", "?", "!", ",", ":", "-", ";"))
"""Removed tokens, as in pycocoevalcap, which keeps -lrb- since it compares -LRB- after lower-casing."""

_L, _A = r"(?:[^\W_²³¹\u2070-\u2089]|[\u0300-\u036f])", r"[^\W\d_]"
_ABBREVIATIONS = (
    "mr|mrs|ms|dr|prof|rev|hon|gen|col|maj|capt|cmdr|lt|sgt|cpl|pvt|adm|brig|gov|sen|rep|pres|treas|supt|ste?|sr|jr|esq"
    "|bros|co|corp|inc|ltd|plc|assn|dept|univ|est|ave|blvd|rd|sq|ct|bldg|ft|mt|jan|feb|mar|apr|jun|jul|aug|sept?|oct"
    "|nov|dec|mon|tues?|wed|thu|thurs|fri|etc|vs|cf|al|ph\\.d|ala|ariz|calif|colo|conn|dak|fla|ga|ind|kans?|ky|md|mich"
    "|minn|mo|mont|neb|nev|okla|penn|tenn|va|vt|wisc?|wyo|messrs|mme|mlle|tel|ext|mfg|intl|natl"
)
_OPENERS = "A|An|The|In|On|At|Some|He|She|It|They|There|This|That|These|Those|We|You|But|And|For|His|Her|Its|Their"

_TOKENS = re.compile(
    rf"""
    </?{_A}[^<>]*>                                                # a tag, such as <UNK>
    | (?:https?://|www\.)[^\s<>"()]*[^\s<>"().,;:!?']             # a URL
    | (?<![\w.+-])[\w.+-]+@\w[\w-]*(?:\.\w[\w-]*)+
    | [<>]?[:;=][-']?[()DPp\]\[](?!{_L})                          # an emoticon
    | (?i:(?:'t(?=is|was))|(?<='t)(?:is|was)                      # 't is
        | can(?=not(?!{_L})) | (?<=can)not(?!{_L})                # can not, gon na
        | (?:gon|wan)(?=na(?!{_L})) | (?<=gon|wan)na(?!{_L}) | got(?=ta(?!{_L})) | (?<=got)ta(?!{_L})
        | (?:lem|gim)(?=me(?!{_L})) | (?<=lem|gim)me(?!{_L})
        | n't(?!{_L}) | '(?:s|m|d|re|ve|ll)(?!{_L})               # clitics
        | {_L}+?(?<!n)(?=n't(?!{_L}))
        | 'n' | '(?:em|till?|cause|n)(?!{_L}) | ol'(?!{_L}) | y'(?={_L})
        | (?:[dlo]'{_L}{{2,}}|e'er|ne'er|ma'am|c'mon|s'mores)(?:-{_L}+)*
        | c(?:\+\+|\#)
        | (?:{_A}\.){{2,}} | (?:{_ABBREVIATIONS})\.(?!{_A})       # abbreviations with their periods
        | no\.(?=\s*\d)
      )
    | (?:Ark|Del|Ill|La|Mass|Miss|Ore|Pa|Tex|Wash)\.(?!{_A})
    | {_A}\.(?!{_A}|\s+(?:{_OPENERS})(?!{_L})|\s*$)                 # an initial, but not the end of a sentence
    | [A-Z]+(?:&[A-Z]+)+
    | '(?:[2-9]0s|\d\d(?!\S))                                     # years, but not the inches of 5'10"
    | \d+(?:[.,]\d+)+(?:-{_L}+)+                                  # 1.5-foot
    | [-+]?\d*(?:[.,:]\d+)+ | (?<!-)[-+]\d+                       # numbers
    | {_A}{_L}*(?:[.!?]{_A}{_L}*)+ | {_L}+(?:[-/_]{_L}+)*         # words
    | [\#@]{_A}\w+
    | [!?]{{2,}} | \*+ | \#+ | _+ | [^\s\U0001f000-\U0001faff]    # emoji are no tokens
    """,
    re.VERBOSE,
)
_BEFORE = str.maketrans(
    {"¢": " cents ", "£": " # ", "€": " $ ", "½": " 1/2 ", "¼": " 1/4 ", "¾": " 3/4 "}
    | dict.fromkeys("\u2018\u2019", "'")
    | dict.fromkeys("\u201c\u201d", '"')
    | dict.fromkeys("\u2010\u2011\u2013\u2014\u2015\u2026«»\u200b\ufeff", " ")
    | {"\xad": ""}
)
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&nbsp;": " "}
_ENTITY = re.compile("|".join(_ENTITIES))
_BRACKETS = str.maketrans({"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"})


def ptb_tokenize(text: str) -> list[str]:
    """Tokenize a caption as pycocoevalcap 1.2 does.

    A final single letter loses its period, as in pycocoevalcap if the next caption starts with A.

    Source: the documented rules of Stanford's PTBTokenizer, and the output of version 3.4.1 for examples.
    """
    plain = _ENTITY.sub(lambda match: _ENTITIES[match[0]], text.translate(_BEFORE))
    tokens = (token for token in _TOKENS.findall(plain) if token not in PUNCTUATION)
    return " ".join(tokens).translate(_BRACKETS).lower().split()
