"""Generate captions of a scene from templates.

In a template, {a} {b} {c} are the objects, {pa} {pb} {pc} their places, and {ab} {ac} spatial relations.
"""

from __future__ import annotations

from itertools import chain, permutations

import numpy as np

from captioner.data.scenes.scene import COLOURS, SHAPES, SIZES, Scene, SceneObject

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

PLACES = (
    ("in the top left", "at the top", "in the top right"),
    ("on the left", "in the centre", "on the right"),
    ("in the bottom left", "at the bottom", "in the bottom right"),
)
HORIZONTAL, VERTICAL = ("left of", "right of"), ("above", "below")

WORDS = sorted(
    {
        word
        for phrase in (*chain(*TEMPLATES.values(), *PLACES), *HORIZONTAL, *VERTICAL, *SIZES, *COLOURS, *SHAPES, "a")
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
    slots = {}
    for name, obj in zip("abc", scene.objects, strict=False):
        slots[name] = f"a {obj.size} {obj.colour} {obj.shape}"
        slots["p" + name] = PLACES[obj.row][obj.column]
    for (name, first), (other, second) in permutations(zip("abc", scene.objects, strict=False), 2):
        slots[name + other] = relation(first, second, rng)
    return template.format_map(slots).split()


def relation(first: SceneObject, second: SceneObject, rng: np.random.Generator) -> str:
    """Choose a spatial relation that holds between two objects, at random if two hold."""
    across, down = HORIZONTAL[first.column > second.column], VERTICAL[first.row > second.row]
    words = [across] * (first.column != second.column) + [down] * (first.row != second.row)
    return words[rng.integers(len(words))]
