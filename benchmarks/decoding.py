"""Greedy and beam decoding of 1,000 images and of one image."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from benchmarks import checks, shapes
from benchmarks.session import Session, set_library_threads
from benchmarks.shapes import END, NULL, START, Shape
from benchmarks.timing import Contender
from captioner.arrays import Array, Params
from captioner.captioning.captioner import BATCH
from captioner.decode import beam, greedy, parallel_decoding
from captioner.model.build import DECODERS
from captioner.parallel.thread_pool import ThreadPool

MAX_LENGTH, MEAN = 16, 11.5
"""Maximum and mean number of words per caption, END included, as in COCO."""
STEEPNESS = {"lstm": 3.0, "rnn": 10.0}
"""How fast the score of END grows per step, so that the standard deviation of lengths is about 2, as in COCO."""
CHECKED = 100
"""Images whose beams PyTorch scores; it holds the logits of all their words in memory at once."""

Decode: TypeAlias = Callable[[Array], Any]
"""Features (N, F) -> tokens (N, K, T), scores (N, K)."""


def decoders(shape: Shape, params: Params, threads: int = 1) -> dict[str, Decode]:
    """Return captioner's decoders by name; every call prepares the weights, as a command does."""
    model, pool = DECODERS[shape.decoder](shape.sizes, params), ThreadPool(threads)
    words: dict[str, Any] = {"start": START, "end": END, "null": NULL, "max_length": MAX_LENGTH}

    def by(decode: Callable[..., Any], width: int = 1) -> Decode:
        def captions(images: Array) -> tuple[Array, Array]:
            run, batch = parallel_decoding(model, pool), threads * BATCH // width
            batches = (images[first : first + batch] for first in range(0, len(images), batch))
            tokens, scores = zip(*(run(partial(decode, **words), features) for features in batches), strict=True)
            return np.concatenate(tokens), np.concatenate(scores)

        return captions

    beams = {f"ours beam {width}": by(partial(beam, width=width), width) for width in (3, 5)}
    return {"ours": by(greedy), **beams}


def caption_parameters(shape: Shape, features: Array) -> Params:
    """Return random parameters whose captions differ and have the lengths of COCO's.

    One hidden unit has no word or image input and counts the steps. The score of END grows with it; its bias is chosen
    so that captions have `MEAN` words.
    """
    p, hidden = shapes.parameters(shape), shape.hidden
    p["W_embed"] *= 100
    p["W_proj"][:, 0] = 0
    p["Wx"][:, ::hidden] = p["Wh"][:, ::hidden] = 0
    if shape.decoder == "lstm":
        p["b"][::hidden] = 10, 10, 10, 0.05  # gates open: c = 0.05 t
    else:
        p["Wh"][0, 0], p["b"][0] = 1, 0.05
    p["W_vocab"][0, END] = STEEPNESS[shape.decoder]
    p["b_vocab"][[NULL, START]] = -20
    low, high = -50.0, 50.0
    for _ in range(16):
        p["b_vocab"][END] = middle = (low + high) / 2
        too_long = mean_length(decoders(shape, p)["ours"](features)[0]) > MEAN
        low, high = (middle, high) if too_long else (low, middle)
    return p


def mean_length(tokens: Array) -> float:
    return float((tokens != NULL).sum(axis=-1).mean())


def measure(session: Session) -> dict[str, Any]:
    """Time every decoder for both cells, 1,000 images and one image, and every number of threads."""
    many = shapes.QUICK if session.quick else tuple(Shape(cell, 1000, 1004) for cell in shapes.CELLS)
    return {shape.decoder: measure_shape(session, shape) for shape in many}


def measure_shape(session: Session, shape: Shape) -> dict[str, Any]:
    """Time the decoders of a shape for all images (`threads`) and for one.

    Raises: WrongResultError if captions or their log-probabilities differ from PyTorch's.
    """
    images = shapes.batch(shape).features
    params = caption_parameters(shape, images[:200])
    ours, theirs = decoders(shape, params), {}
    results: dict[str, Any] = {"words": mean_length(ours["ours"](images)[0]), "threads": {}, "image": {}}
    if session.has_torch:
        from benchmarks import torch_peer

        peer = torch_peer.build(shape, params).eval()
        theirs["torch"] = partial(torch_peer.greedy, peer, max_length=MAX_LENGTH)
        theirs["torch beam 5"] = partial(torch_peer.beam, peer, width=5, max_length=MAX_LENGTH)
        results["ties"] = check(ours | theirs, images, partial(torch_peer.log_probabilities, peer))
    for count in session.threads:
        table = {name: ("pool", decode) for name, decode in decoders(shape, params, count).items()}
        table |= {name: ("torch", decode) for name, decode in theirs.items()}
        for key, number in (("threads", len(images)), ("image", 1)):
            rows = images[:number]
            contenders = {
                name: Contender(partial(decode, rows), partial(set_library_threads, library, count))
                for name, (library, decode) in table.items()
            }
            results[key][str(count)] = session.race(f"{shape.decoder}, {number} images, threads {count}", contenders)
    return results


def check(table: dict[str, Decode], images: Array, score: Callable[[Array, Array], Array]) -> int:
    """Compare captions and scores with PyTorch's; a beam must reach at least the log-probability of greedy decoding.

    Returns the number of captions that differ after a tie.
    """
    tokens = table["ours"](images)[0][:, 0]
    ties = checks.same_captions("ours", tokens, table["torch"](images), lambda rows, ids: score(images[rows], ids))
    checked = images[:CHECKED]
    decoded = {name: decode(checked) for name, decode in table.items() if name != "torch"}
    for name, (ids, scores) in decoded.items():
        checks.same_scores(name, scores, score(checked, ids))
    best = {name: float(np.mean(scores[:, 0])) for name, (_, scores) in decoded.items()}
    missed = max(best["ours"], best["torch beam 5"]) - best["ours beam 5"]
    checks.within("ours beam 5: log-probability to find", missed, checks.SCORE)
    return ties
