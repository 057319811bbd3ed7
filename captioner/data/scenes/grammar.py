"""Five ways to say what a scene shows.

In a sentence {a} {b} {c} name the things, {pa} {pb} {pc} tell their places, and {ab} or {ac} how one lies to another.
"""

from __future__ import annotations

from itertools import chain, permutations

import numpy as np

from captioner.data.scenes.world import COLOURS, SHAPES, SIZES, Scene, Thing

PARAPHRASES = 5

SENTENCES = {
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

PLACES = (
    ("in the top left", "at the top", "in the top right"),
    ("on the left", "in the centre", "on the right"),
    ("in the bottom left", "at the bottom", "in the bottom right"),
)
ACROSS, DOWN = ("left of", "right of"), ("above", "below")

LANGUAGE = sorted(
    {
        word
        for phrase in (*chain(*SENTENCES.values(), *PLACES), *ACROSS, *DOWN, *SIZES, *COLOURS, *SHAPES, "a")
        for word in phrase.split()
        if not word.startswith("{")
    }
)
"""Every word that a caption can hold."""


def paraphrases(scene: Scene, rng: np.random.Generator) -> list[list[str]]:
    """Five different sentences about a scene, as words; each names everything in it."""
    sentences = SENTENCES[len(scene.things)]
    chosen = rng.permutation(len(sentences))[:PARAPHRASES]
    return [say(sentences[i], scene, rng) for i in chosen]


def say(sentence: str, scene: Scene, rng: np.random.Generator) -> list[str]:
    """Fill in a sentence."""
    slots = {}
    for name, thing in zip("abc", scene.things, strict=False):
        slots[name] = f"a {thing.size} {thing.colour} {thing.shape}"
        slots["p" + name] = PLACES[thing.row][thing.column]
    for (one, first), (other, second) in permutations(zip("abc", scene.things, strict=False), 2):
        slots[one + other] = relation(first, second, rng)
    return sentence.format_map(slots).split()


def relation(one: Thing, other: Thing, rng: np.random.Generator) -> str:
    """How one thing lies to another; where two words are true, either."""
    across, down = ACROSS[one.column > other.column], DOWN[one.row > other.row]
    words = [across] * (one.column != other.column) + [down] * (one.row != other.row)
    return words[rng.integers(len(words))]
