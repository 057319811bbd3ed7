"""Scenes: one to three objects in a square, each with a shape, a colour, a size and a position; their images, captions
from templates, and whether a caption is fully correct.

Lengths are in pixels of an image SIDE pixels wide; x grows to the right and y downwards.

In a template, {a} {b} {c} are the objects, {pa} {pb} {pc} their places, and {ab} {ac} spatial relations.

A caption is fully correct if it is a sentence of the grammar below with every object of the scene once, by size, colour
and shape, and all its places, relations and counts hold. A caption that omits an object is false, and an ambiguous
sentence ("... above ... and ...") is not in the grammar.

"on the left" holds in the whole left third, "in the top left" only in that corner, "in the centre" only in the middle;
"left of" holds for any object further left, at any height.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, permutations, product

import numpy as np
from numpy.typing import NDArray

from captioner.arrays import Array

SIDE = 64
CELL = SIDE / 3
JITTER = 2.0
"""The maximum offset of an object from the centre of its cell, in x and y."""

SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
SIZES = ("large", "small")

HELD_OUT = (
    ("red", "cross"),
    ("orange", "diamond"),
    ("yellow", "ring"),
    ("green", "circle"),
    ("blue", "triangle"),
    ("purple", "square"),
)
"""Combinations that only the split `heldout` contains, one of every shape: each colour and shape occurs in train."""
COMBINATIONS = tuple(pair for pair in product(COLOURS, SHAPES) if pair not in HELD_OUT)

SPLITS = ("train", "val", "test", "heldout")
BUCKETS = ("val", "test", *("train",) * 8)
"""Splits by the CRC-32 of a description: 10% val, 10% test, 80% train."""


@dataclass(frozen=True)
class SceneObject:
    """One shape, centred at (x, y)."""

    shape: str
    colour: str
    size: str
    x: float
    y: float

    @property
    def row(self) -> int:
        """The third of the image that contains the centre, from the top: 0, 1 or 2."""
        return int(self.y // CELL)

    @property
    def column(self) -> int:
        """The third of the image that contains the centre, from the left: 0, 1 or 2."""
        return int(self.x // CELL)


@dataclass(frozen=True)
class Scene:
    """One to three objects in reading order, in distinct cells and with distinct combinations of shape and colour."""

    objects: tuple[SceneObject, ...]

    def description(self) -> str:
        """Describe a scene without the jitter of positions: scenes with equal descriptions look alike."""
        return "; ".join(f"{t.size} {t.colour} {t.shape} {t.row} {t.column}" for t in self.objects)


def split_of(scene: Scene) -> str:
    """Return the split of a scene; all scenes with one description are in the same split."""
    if any((t.colour, t.shape) in HELD_OUT for t in scene.objects):
        return "heldout"
    return BUCKETS[zlib.crc32(scene.description().encode()) % len(BUCKETS)]


def sample_scene(rng: np.random.Generator, split: str) -> Scene:
    """Sample scenes until one belongs to the split."""
    while split_of(scene := sample_unfiltered(rng, held_out=split == "heldout")) != split:
        pass
    return scene


def sample_unfiltered(rng: np.random.Generator, *, held_out: bool) -> Scene:
    """Sample one to three objects; with `held_out`, one of them has a held-out combination."""
    count = int(rng.integers(1, 4))
    pairs = [COMBINATIONS[i] for i in rng.permutation(len(COMBINATIONS))[:count]]
    if held_out:
        pairs[rng.integers(count)] = HELD_OUT[rng.integers(len(HELD_OUT))]
    cells = sorted(rng.permutation(9)[:count].tolist())
    offsets = rng.uniform(-JITTER, JITTER, (count, 2)).tolist()
    sizes = rng.integers(len(SIZES), size=count).tolist()
    return Scene(
        tuple(
            SceneObject(shape, colour, SIZES[size], (cell % 3 + 0.5) * CELL + dx, (cell // 3 + 0.5) * CELL + dy)
            for (colour, shape), size, cell, (dx, dy) in zip(pairs, sizes, cells, offsets, strict=True)
        )
    )


RGB = {
    "red": (215, 35, 35),
    "orange": (245, 135, 25),
    "yellow": (240, 225, 50),
    "green": (45, 165, 60),
    "blue": (45, 85, 220),
    "purple": (130, 55, 170),
    "pink": (250, 145, 190),
    "white": (245, 245, 245),
}
RADIUS = {"large": 8.0, "small": 5.0}
NOISE = np.float32(6)
AXIS = np.arange(SIDE, dtype=np.float32) + np.float32(0.5)
OUTLINES: dict[str, Callable[[Array, Array], Array]] = {
    "circle": lambda x, y: np.hypot(x, y) - 1,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) - 0.88,
    "triangle": lambda x, y: np.maximum(y - 0.75, 0.866 * abs(x) - 0.5 * y - 0.45),
    "diamond": lambda x, y: 0.707 * (abs(x) + abs(y) - 1.1),
    "cross": lambda x, y: np.maximum(np.maximum(abs(x), abs(y)) - 1, np.minimum(abs(x), abs(y)) - 0.33),
    "ring": lambda x, y: abs(np.hypot(x, y) - 0.74) - 0.26,
}
"""Signed distance functions of shapes of radius 1, negative inside."""


def render(scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Render a scene with anti-aliased shapes, colour jitter, a grey background and noise.

    Shapes: (64, 64, 3) uint8.
    """
    picture = rng.standard_normal((SIDE, SIDE, 3), np.float32)
    picture *= NOISE
    background = (rng.uniform(25, 75) + rng.uniform(-6, 6, 3)).astype(np.float32)
    picture += background
    for obj in scene.objects:
        paint(picture, obj, background, rng)
    return picture.clip(0, 255).astype(np.uint8)


def paint(picture: Array, obj: SceneObject, background: Array, rng: np.random.Generator) -> None:
    """Draw one object on the background, with alpha from the signed distance of each pixel to the outline."""
    radius = RADIUS[obj.size] * rng.uniform(0.93, 1.07)
    colour = np.asarray(RGB[obj.colour]) * rng.uniform(0.85, 1.05) + rng.uniform(-10, 10, 3)
    rows, columns = (slice(max(0, int(centre - radius) - 1), int(centre + radius) + 2) for centre in (obj.y, obj.x))
    x, y = (AXIS[columns] - obj.x) / radius, (AXIS[rows] - obj.y) / radius
    alpha = (0.5 - radius * OUTLINES[obj.shape](x[None, :], y[:, None])).clip(0, 1)
    picture[rows, columns] += alpha[..., None] * (colour - background).astype(np.float32)


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
    column, row = place
    return column in (None, obj.column) and row in (None, obj.row)


def is_in_direction(obj: SceneObject, direction: tuple[int, int], other: SceneObject) -> bool:
    right, down = direction
    return right * (obj.x - other.x) + down * (obj.y - other.y) > MIN_DISTANCE
