"""Captions of scenes: generate them from templates, and check whether a caption is fully correct.

In a template, {a} {b} {c} are the objects, {pa} {pb} {pc} their places, and {ab} {ac} spatial relations.

A caption is fully correct if it is a sentence of the grammar below with every object of the scene once, by size, colour
and shape, and all its places, relations and counts hold. A caption that omits an object is false, and an ambiguous
sentence ("... above ... and ...") is not in the grammar.

"on the left" holds in the whole left third, "in the top left" only in that corner, "in the centre" only in the middle;
"left of" holds for any object further left, at any height.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, permutations

import numpy as np

from captioner.data.scene import COLOURS, SHAPES, SIDE, SIZES, Scene, SceneObject

PARAPHRASES = 5

TEMPLATES = {
    1: (
        "{a} {pa}",
        "there is {a} {pa}",
        "{a} is {pa}",
        "{pa} there is {a}",
        "the picture shows {a} {pa}",
        "nothing but {a}",
    ),
    2: (
        "{a} {ab} {b}",
        "{a} is {ab} {b}",
        "{a} {pa} and {b} {pb}",
        "there is {a} {pa} and {b} {pb}",
        "the picture shows {b} {ba} {a}",
        "there are two shapes {a} and {b}",
    ),
    3: (
        "{a} {ab} {b} with {c} {pc}",
        "{a} is {ab} {b} and {ac} {c}",
        "there is {a} {ab} {b} with {c} {pc}",
        "the picture shows {a} {b} and {c}",
        "there are three shapes {a} {b} and {c}",
        "three shapes {a} {b} and {c}",
    ),
}

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
"""The phrase for each third of rows and columns, in reading order, and the column and row of thirds that it describes;
None matches any."""

RELATIONS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
"""The direction (right, down) from the second object to the first."""

WORDS = sorted(
    {
        word
        for phrase in (*chain(*TEMPLATES.values()), *PLACES, *RELATIONS, *SIZES, *COLOURS, *SHAPES, "a")
        for word in phrase.split()
        if not word.startswith("{")
    }
)
"""Every word of the captions."""


def paraphrases(scene: Scene, rng: np.random.Generator) -> list[list[str]]:
    """Generate five different tokenized captions of a scene, each of which names every object."""
    templates = TEMPLATES[len(scene.objects)]
    chosen = rng.permutation(len(templates))[:PARAPHRASES]
    return [fill(templates[i], scene, rng) for i in chosen]


def fill(template: str, scene: Scene, rng: np.random.Generator) -> list[str]:
    """Fill in a template with the objects of a scene."""
    slots, places = {}, list(PLACES)
    for name, obj in zip("abc", scene.objects, strict=False):
        slots[name] = f"a {obj.size} {obj.colour} {obj.shape}"
        slots["p" + name] = places[3 * obj.row + obj.column]
    for (name, first), (other, second) in permutations(zip("abc", scene.objects, strict=False), 2):
        slots[name + other] = relation(first, second, rng)
    return template.format_map(slots).split()


def relation(first: SceneObject, second: SceneObject, rng: np.random.Generator) -> str:
    """Choose a spatial relation that holds between two objects, at random if two hold."""
    across = "right of" if first.column > second.column else "left of"
    down = "below" if first.row > second.row else "above"
    words = [across] * (first.column != second.column) + [down] * (first.row != second.row)
    return words[rng.integers(len(words))]


MIN_DISTANCE = 8
"""A relation holds if the centres are more than this many pixels apart in its direction."""

COUNTS = {"two shapes": 2, "three shapes": 3}

PHRASE_CODES = {
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
"""Phrases other than the noun phrase, and their letters in SENTENCE."""

NOUN = rf"a (?P<size>{'|'.join(SIZES)}) (?P<colour>{'|'.join(COLOURS)}) (?P<shape>{'|'.join(SHAPES)})"
PHRASE = re.compile(rf"(?:{NOUN}|(?P<phrase>{'|'.join(PHRASE_CODES)}))(?: |\Z)")
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
    """The claims of a sentence: `nouns` as (size, colour, shape); places and relations refer to nouns by index."""

    nouns: tuple[tuple[str, str, str], ...]
    places: tuple[tuple[int, str], ...]
    relations: tuple[tuple[int, str, int], ...]
    count: int


def parse(words: Sequence[str]) -> Claims | None:
    """Parse the claims of a caption; return None if it is not a sentence of the grammar."""
    text, codes, at = " ".join(words), "", 0
    nouns: list[tuple[str, str, str]] = []
    places: list[tuple[int, str]] = []
    relations: list[tuple[int, str, int]] = []
    count: int | None = None
    while at < len(text):
        if (match := PHRASE.match(text, at)) is None:
            return None
        at = match.end()
        phrase = match["phrase"]
        code = PHRASE_CODES[phrase] if phrase else "N"
        codes += code
        if code == "N":
            nouns.append((match["size"], match["colour"], match["shape"]))
        elif code == "P":
            places.append((max(0, len(nouns) - 1), phrase))
        elif code == "R":
            relations.append((0, phrase, len(nouns)))
        elif code == "C":
            count = COUNTS[phrase]
    if SENTENCE.fullmatch(codes) is None:
        return None
    return Claims(tuple(nouns), tuple(places), tuple(relations), len(nouns) if count is None else count)


def is_correct(scene: Scene, words: Sequence[str]) -> bool:
    """Check whether a caption is fully correct for a scene."""
    claims = parse(words)
    if claims is None or not len(scene.objects) == len(claims.nouns) == claims.count:
        return False
    return any(claims_hold(claims, objects) for objects in permutations(scene.objects))


def claims_hold(claims: Claims, objects: Sequence[SceneObject]) -> bool:
    """Check every claim, with the nouns assigned to these objects in order."""
    return (
        all((t.size, t.colour, t.shape) == noun for t, noun in zip(objects, claims.nouns, strict=True))
        and all(is_in_place(objects[i], PLACES[place]) for i, place in claims.places)
        and all(is_in_direction(objects[i], RELATIONS[relation], objects[j]) for i, relation, j in claims.relations)
    )


def is_in_place(obj: SceneObject, place: tuple[int | None, int | None]) -> bool:
    thirds = (obj.x * 3 // SIDE, obj.y * 3 // SIDE)
    return all(expected is None or third == expected for third, expected in zip(thirds, place, strict=True))


def is_in_direction(obj: SceneObject, direction: tuple[int, int], other: SceneObject) -> bool:
    right, down = direction
    return right * (obj.x - other.x) + down * (obj.y - other.y) > MIN_DISTANCE
