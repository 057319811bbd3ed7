"""Reads a caption as a person would, and judges whether it is true of a scene.

A caption is true when it is a whole sentence of the language below, names every thing in the scene once, each by
size, colour and shape, and every place, relation and count that it claims holds. To name two things of three is not
enough, and what can be read in two ways ("... above ... and ...") is no sentence.

"on the left" is true of the whole left third, "in the top left" of that corner, "in the centre" of the middle alone;
"left of" is true of whatever lies further left, be it higher or lower as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

from captioner.data.scenes.world import COLOURS, SHAPES, SIDE, SIZES, Scene, Thing

PLACES: dict[str, tuple[int | None, int | None]] = {
    "in the top left": (0, 0),
    "at the top": (None, 0),
    "in the top right": (2, 0),
    "on the left": (0, None),
    "in the centre": (1, 1),
    "on the right": (2, None),
    "in the bottom left": (0, 2),
    "at the bottom": (None, 2),
    "in the bottom right": (2, 2),
}
"""The thirds, counted from the left and from the top, that a phrase speaks of; None is any."""

RELATIONS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
"""The direction, right and down, in which one thing lies from the other."""

APART = 8
"""Pixels by which one centre must lie beyond another before a relation holds."""

COUNTS = {"two shapes": 2, "three shapes": 3}

MARKS = {
    **dict.fromkeys(PLACES, "P"),
    **dict.fromkeys(RELATIONS, "R"),
    **dict.fromkeys(COUNTS, "C"),
    "there is": "t",
    "there are": "T",
    "the picture shows": "S",
    "nothing but": "B",
    "is": "i",
    "and": "&",
    "with": "w",
}
"""Every phrase but the noun, and the letter that stands for it in SENTENCE."""

NOUN = rf"a (?P<size>{'|'.join(SIZES)}) (?P<colour>{'|'.join(COLOURS)}) (?P<shape>{'|'.join(SHAPES)})"
PHRASE = re.compile(rf"(?:{NOUN}|(?P<phrase>{'|'.join(MARKS)}))(?: |\Z)")
SENTENCE = re.compile(
    r"""
      [tSB]? N P?                          # there is a large red circle in the centre
    | [tSB]? N P (?: & N P )+              # a large red circle on the left and a small blue ring at the top
    | (?: [tSB] | T? C )? N+ & N           # there are three shapes a .. a .. and a ..
    | P t N                                # in the centre there is a large red circle
    | N i P                                # a large red circle is in the centre
    | (?: [tS]? N | N i ) R N              # a large red circle is left of a small blue ring
      (?: & R N | w N P )?                 # .. and above a .. | .. with a .. in the centre
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Claims:
    """What a sentence says: `nouns` as (size, colour, shape); places and relations name nouns by their number."""

    nouns: tuple[tuple[str, str, str], ...]
    places: tuple[tuple[int, str], ...]
    relations: tuple[tuple[int, str, int], ...]
    count: int


def parse(words: Sequence[str]) -> Claims | None:
    """What a caption claims, or None when it is not a whole sentence of the language."""
    text, marks, at = " ".join(words), "", 0
    nouns: list[tuple[str, str, str]] = []
    places: list[tuple[int, str]] = []
    relations: list[tuple[int, str, int]] = []
    count: int | None = None
    while at < len(text):
        if (match := PHRASE.match(text, at)) is None:
            return None
        at = match.end()
        phrase = match["phrase"]
        mark = MARKS[phrase] if phrase else "N"
        marks += mark
        if mark == "N":
            nouns.append((match["size"], match["colour"], match["shape"]))
        elif mark == "P":
            places.append((max(0, len(nouns) - 1), phrase))
        elif mark == "R":
            relations.append((0, phrase, len(nouns)))
        elif mark == "C":
            count = COUNTS[phrase]
    if SENTENCE.fullmatch(marks) is None:
        return None
    return Claims(tuple(nouns), tuple(places), tuple(relations), len(nouns) if count is None else count)


def is_true(scene: Scene, words: Sequence[str]) -> bool:
    """Whether a caption is a whole sentence, complete, and true of a scene."""
    claims = parse(words)
    if claims is None or not len(scene.things) == len(claims.nouns) == claims.count:
        return False
    return any(holds(claims, things) for things in permutations(scene.things))


def holds(claims: Claims, things: Sequence[Thing]) -> bool:
    """Whether every claim is true when the sentence's nouns stand for these things, in this order."""
    return (
        all((t.size, t.colour, t.shape) == noun for t, noun in zip(things, claims.nouns, strict=True))
        and all(is_at(things[i], PLACES[place]) for i, place in claims.places)
        and all(lies(things[i], RELATIONS[relation], things[j]) for i, relation, j in claims.relations)
    )


def is_at(thing: Thing, place: tuple[int | None, int | None]) -> bool:
    thirds = (thing.x * 3 // SIDE, thing.y * 3 // SIDE)
    return all(wanted is None or third == wanted for third, wanted in zip(thirds, place, strict=True))


def lies(one: Thing, direction: tuple[int, int], other: Thing) -> bool:
    right, down = direction
    return right * (one.x - other.x) + down * (one.y - other.y) > APART
