"""Greedy and beam decoding of many images and of one image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from operator import methodcaller
from typing import Any, TypeAlias

import numpy as np

from benchmarks import checks, shapes
from benchmarks.session import Session
from benchmarks.shapes import END, NULL, START, Shape
from benchmarks.timing import Contender
from captioner.arrays import Array, Params
from captioner.captioning.captioner import BATCH
from captioner.decode import beam, greedy, parallel_decoding
from captioner.model.build import DECODERS
from captioner.parallel.thread_pool import ThreadPool

IMAGES = 256
MAX_LENGTH, MEAN = 16, 11.5
"""Maximum and mean number of words per caption, END included, as in COCO."""
STEEPNESS = {"lstm": 3.0, "rnn": 10.0, "transformer": 15.0}
"""How fast the score of END grows per step, so that the standard deviation of lengths is about 2, as in COCO."""
CHECKED = 100
"""Images whose beams PyTorch scores; it holds the logits of all their words in memory at once."""

Decode: TypeAlias = Callable[[Array], Any]
"""Features (N, F) -> tokens (N, K, T), scores (N, K)."""


def decoders(shape: Shape, params: Params, threads: int = 1) -> dict[str, Decode]:
    """Return captioner's decoders by name; the first call of each prepares the weights, as in a command."""
    model, pool = DECODERS[shape.decoder](shape.sizes, params), ThreadPool(threads)
    words: dict[str, Any] = {"start": START, "end": END, "null": NULL, "max_length": MAX_LENGTH}

    def by(decode: Callable[..., Any], width: int = 1) -> Decode:
        run, batch = parallel_decoding(model, pool), threads * BATCH // width

        def captions(images: Array) -> tuple[Array, Array]:
            batches = (images[first : first + batch] for first in range(0, len(images), batch))
            tokens, scores = zip(*(run(partial(decode, **words), features) for features in batches), strict=True)
            return np.concatenate(tokens), np.concatenate(scores)

        return captions

    beams = {f"ours beam {width}": by(partial(beam, width=width), width) for width in (3, 5)}
    return {"ours": by(greedy), **beams}


def caption_parameters(shape: Shape, features: Array) -> Params:
    """Return random parameters whose captions differ and have the lengths of COCO's.

    One hidden unit has no word or image input and counts the steps; of a transformer, it has the position only. The
    score of END grows with it; its bias is chosen so that captions have `MEAN` words.
    """
    p, hidden, unit = shapes.parameters(shape), shape.hidden, 0
    if shape.decoder == "transformer":
        unit = hidden // 4  # its position is sin(0.1 t)
        for name in p:
            if name.endswith(("W_embed", "Wo", "bo", "W2", "b2")):
                p[name][..., unit] = 0
    else:
        p["W_embed"] *= 100
        p["W_proj"][:, 0] = 0
        p["Wx"][:, ::hidden] = p["Wh"][:, ::hidden] = 0
    if shape.decoder == "lstm":
        p["b"][::hidden] = 10, 10, 10, 0.05  # gates open: c = 0.05 t
    elif shape.decoder == "rnn":
        p["Wh"][0, 0], p["b"][0] = 1, 0.05
    p["W_vocab"][unit, END] = STEEPNESS[shape.decoder]
    p["b_vocab"][[NULL, START]] = -20
    low, high = -50.0, 50.0
    for _ in range(16):
        p["b_vocab"][END] = middle = (low + high) / 2
        too_long = mean_length(decoders(shape, p)["ours"](features)[0]) > MEAN
        low, high = (middle, high) if too_long else (low, middle)
    return p


def mean_length(tokens: Array) -> float:
    return float((tokens != NULL).sum(axis=-1).mean())


def decode_first(decode: Callable[[Array], Any], images: Array, count: int) -> Any:
    return decode(images[:count])


def build(library: str, shape: Shape, params: Params, threads: int) -> dict[str, Callable[[int], Any]]:
    """Build the decoders of a library in their process; they take the number of images."""
    images = shapes.batch(shape).features
    if library == "captioner":
        table = decoders(shape, params, threads)
    else:
        from benchmarks import torch_models, torch_peer

        peer = torch_models.build(shape, params).eval()
        table = {
            "torch": partial(torch_peer.greedy, peer, max_length=MAX_LENGTH),
            "torch beam 5": partial(torch_peer.beam, peer, width=5, max_length=MAX_LENGTH),
        }
    return {name: partial(decode_first, decode, images) for name, decode in table.items()}


def measure(session: Session) -> dict[str, Any]:
    """Time every decoder for all cells and a transformer, many images and one, and every number of threads."""
    many = (*(Shape(cell, IMAGES, 1004) for cell in shapes.CELLS), replace(shapes.TRANSFORMER, captions=IMAGES))
    quick = (*shapes.QUICK, shapes.QUICK_TRANSFORMER)
    return {shape.decoder: measure_shape(session, shape) for shape in (quick if session.quick else many)}


def measure_shape(session: Session, shape: Shape) -> dict[str, Any]:
    """Time the decoders of a shape for all images (`threads`) and for one.

    Raises: WrongResultError if captions or their log-probabilities differ from PyTorch's.
    """
    images = shapes.batch(shape).features
    params = caption_parameters(shape, images[:200])
    words = mean_length(decoders(shape, params)["ours"](images)[0])
    results: dict[str, Any] = {"images": len(images), "words": words, "threads": {}, "image": {}}

    def heats(contenders: dict[str, Contender]) -> dict[str, dict[str, Contender]]:
        if session.has_torch:
            from benchmarks import torch_models, torch_peer

            score = partial(torch_peer.log_probabilities, torch_models.build(shape, params).eval())
            results["ties"] = check(contenders, images, score)
        return {
            heat: {name: each._replace(timed=methodcaller("__call__", count)) for name, each in contenders.items()}
            for heat, count in (("threads", len(images)), ("image", 1))
        }

    for count in session.threads:
        libraries = ["captioner", *["torch"] * session.has_torch]
        builds = [(library, partial(build, library, shape, params, count)) for library in libraries]
        for heat, race in session.race(f"{shape.decoder}, threads {count}", count, builds, heats).items():
            results[heat][str(count)] = race
    return results


def check(contenders: dict[str, Contender], images: Array, score: Callable[[Array, Array], Array]) -> int:
    """Compare captions and scores with PyTorch's; a beam must reach at least the log-probability of greedy decoding.

    Returns the number of captions that differ after a tie.
    """
    tokens = contenders["ours"].ask("__call__", len(images))[0][:, 0]
    expected = contenders["torch"].ask("__call__", len(images))
    ties = checks.same_captions("ours", tokens, expected, lambda rows, ids: score(images[rows], ids))
    checked = images[:CHECKED]
    decoded = {name: each.ask("__call__", CHECKED) for name, each in contenders.items() if name != "torch"}
    for name, (ids, scores) in decoded.items():
        if ids.shape[1] != (width := int(name[-1]) if "beam" in name else 1):
            raise checks.WrongResultError(f"{name}: expected {width} captions per image, got {ids.shape[1]}")
        checks.same_scores(name, scores, score(checked, ids))
    best = {name: float(np.mean(scores[:, 0])) for name, (_, scores) in decoded.items()}
    missed = max(best["ours"], best["torch beam 5"]) - best["ours beam 5"]
    checks.within("ours beam 5: log-probability to find", missed, checks.SCORE)
    return ties
