"""Roofline: the rate of each part of a training step, and the highest rates of the machine.

A part is timed alone, by the functions that the training step calls, on the arrays of a real batch. Its floating-point
operations are those of its matrix products; its bytes are each operand read once and each result written once per call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from benchmarks import machine, shapes
from benchmarks.ours import RATE, Ours
from benchmarks.session import Session, set_library_threads
from benchmarks.shapes import Shape
from benchmarks.timing import Call, Contender
from captioner.layers.blocked_matmul import BlockedMatrix, block_width
from captioner.layers.cell import project_inputs, split_gates
from captioner.layers.embedding import word_embedding_backward
from captioner.layers.softmax import cross_entropy
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.image_input import IMAGE_INPUTS, start_backward, start_forward
from captioner.optim.update_rules import UPDATE_RULES, Hyper, Shard, global_norm, initial_slots, update
from captioner.parallel.thread_pool import ThreadPool

SHAPE = Shape("lstm", 64, 1004)
SIDE, LARGE = 2048, 1 << 28
"""Rows and columns of the square product, and bytes of the arrays in main memory, that measure the peaks."""
NUMBER = 4
"""Bytes of a float32."""
REPEATS = 16
"""Calls between two dispatches to the workers in the measurement of a bandwidth."""


@dataclass(frozen=True)
class Part:
    """One part of a training step: floating-point operations of its products, bytes, and its calls."""

    name: str
    flops: int
    bytes: int
    call: Call = field(repr=False)


def measure(session: Session) -> dict[str, Any]:
    """Time the peaks, the step (`ours`) and each of its parts with every number of threads."""
    shape = shapes.QUICK[0] if session.quick else SHAPE
    results: dict[str, Any] = {"levels": levels(session.quick), "parts": {}, "threads": {}, "peaks": {}}
    for count in session.threads:
        timed = parts(shape, ThreadPool(count))
        results["parts"] = {part.name: {"flops": part.flops, "bytes": part.bytes} for part in timed}
        step = Ours(shape, shapes.parameters(shape), shapes.batch(shape), count).step
        calls = {"ours": step, **{part.name: part.call for part in timed}}
        contenders = {name: Contender(call, partial(set_library_threads, "pool", 1)) for name, call in calls.items()}
        results["threads"][str(count)] = session.race(f"roofline, threads {count}", contenders)
        results["peaks"][str(count)] = peaks(session, count, results["levels"])
    return results


def levels(quick: bool) -> dict[str, int]:
    """Return the bytes of each level of the memory that has its own peak, smallest first."""
    caches = {name: size for name, size in machine.caches().items() if name in ("L2", "L3")}
    return {"memory": 1 << 20} if quick else caches | {"memory": LARGE}


def peaks(session: Session, count: int, sizes: dict[str, int]) -> dict[str, float]:
    """Return operations per second of a large product, and bytes per second of c = a + b in each level."""
    side = 64 if session.quick else SIDE
    x = np.ones((side, side), np.float32)
    product = partial(np.matmul, x, x, np.empty_like(x))
    contenders = {"product": Contender(product, partial(set_library_threads, "numpy", count))}
    moved = {}
    for level, size in sizes.items():
        call, moved[level] = additions(ThreadPool(count), size // 2 // count)
        contenders[level] = Contender(call, partial(set_library_threads, "pool", 1))
    times = session.race(f"peaks, threads {count}", contenders)
    amounts = {"product": 2 * side**3, **moved}
    return {name: amounts[name] / times[name]["median"] for name in contenders}


def additions(pool: ThreadPool, size: int) -> tuple[Call, int]:
    """Return a call that adds arrays of `size` bytes in all per worker, and the bytes that it moves."""
    arrays = [np.ones((3, size // (3 * NUMBER)), np.float32) for _ in range(pool.size)]

    def add(worker: int) -> None:
        a, b, c = arrays[worker]
        for _ in range(REPEATS):
            np.add(a, b, out=c)

    return partial(pool.map, add), REPEATS * sum(array.nbytes for array in arrays)


def parts(shape: Shape, pool: ThreadPool) -> list[Part]:
    """Return the parts of a step, in the order of their computation."""
    params, batch = shapes.parameters(shape), shapes.batch(shape)
    model = CaptioningRNN(shape.sizes, params)
    _, cache = model.forward(*batch, None, pool)
    dscores, _, forced = cache
    grads = model.backward(cache, pool)
    scan, cell, p = forced.decoder.scan, model.cell, params
    assert scan.ids is not None
    packing, hidden, (N, F), V = scan.packing, forced.outputs.hidden, batch.features.shape, shape.vocab
    P, U, D, H, G = len(hidden), len(scan.inputs), shape.wordvec, shape.hidden, cell.gates
    size = sum(w.size for w in params.values())
    steps = len(packing.steps[0])

    _, start_cache = start_forward(IMAGE_INPUTS["init"], cell, p, batch.features, pool)
    ax = project_inputs(cell, scan.inputs, p["Wx"], p["b"], pool)
    states = tuple(state.copy() for state in scan.states)
    saved, ah, dah = scan.saved.copy(), np.zeros((G, P, H), np.float32), np.zeros((G, P, H), np.float32)
    Wh, WhT = split_gates(p["Wh"], G), split_gates(p["Wh"], G).swapaxes(1, 2)
    forward, backward = (BlockedMatrix(W, block_width(packing.max_rows), pool) for W in (Wh, WhT))
    dstate = tuple(np.zeros((N, H), np.float32) for _ in states)
    by_row, scores, dh = dah.swapaxes(0, 1), dscores.copy(), np.zeros((P, H), np.float32)
    dprojected = np.zeros((U, G * H), np.float32)
    out = {name: np.empty_like(p[name]) for name in ("Wx", "Wh", "W_vocab")} | {"x": np.empty_like(scan.inputs)}
    weights, shards = {name: w.copy() for name, w in p.items()}, pool.shards(P)
    rule, scale = UPDATE_RULES["adam"], np.ones(P, np.float32)
    slots = initial_slots(rule, weights)

    def each_step(work: Callable[[int, int, int], object], reverse: bool = False) -> Call:
        """Return a call of `work(worker, first row, end row)` for each time step, in the worker of its shard."""

        def loop(worker: int) -> None:
            for first, end in reversed(packing.steps[worker]) if reverse else packing.steps[worker]:
                work(worker, first, end)

        return partial(pool.map, loop)

    def gates(worker: int, first: int, end: int) -> None:
        before, rows = int(packing.previous[first]), slice(N + first, N + end)
        previous, new = (tuple(s[place] for s in states) for place in (slice(before, before + end - first), rows))
        cell.forward(ax.take(scan.ids[first:end], axis=1), ah[:, first:end], previous, new, saved[:, first:end])

    def gates_backward(worker: int, first: int, end: int) -> None:
        live = tuple(d[packing.shards[worker]][: end - first] for d in dstate)
        live[0][...] += dh[first:end]
        cell.backward(live, saved[:, first:end], dah[:, first:end], dah[:, first:end])
        products = ah[:, first:end]
        live[0][...] = products[0]
        for product in products[1:]:
            live[0][...] += product

    def entropy(worker: int) -> None:
        rows = shards[worker]
        cross_entropy(scores[rows], forced.outputs.targets[rows], scale[rows], p["b_vocab"])

    def adam(worker: int) -> None:
        update(rule, weights, grads, slots, Hyper(RATE), 1, 1.0, Shard(worker, pool.size))

    def part(name: str, flops: int, numbers: int, *calls: Call) -> Part:
        return Part(name, flops, NUMBER * numbers, calls[0] if len(calls) == 1 else lambda: [call() for call in calls])

    matmul, recurrent = pool.matmul, 2 * P * H * G * H
    return [
        part("image to h0, and back", 4 * N * F * H, 2 * (N * F + F * H + N * H),
             partial(start_forward, IMAGE_INPUTS["init"], cell, p, batch.features, pool),
             partial(start_backward, dstate, start_cache, pool)),
        part("x Wx", 2 * U * D * G * H, U * D + D * G * H + U * G * H,
             partial(project_inputs, cell, scan.inputs, p["Wx"], p["b"], pool)),
        part("Wh and Whᵀ to blocks", 0, 4 * G * H * H,
             *(partial(BlockedMatrix, W, block_width(packing.max_rows), pool) for W in (Wh, WhT))),
        part("h Wh", recurrent, steps * G * H * H + P * H + P * G * H,
             each_step(lambda worker, first, end: forward.product(states[0][first:end], worker))),
        part("gates", 0, P * H * (4 * G + (cell.states - 1) + cell.states + cell.saved), each_step(gates)),
        part("h W_vocab", 2 * P * H * V, P * H + H * V + P * V, partial(matmul, hidden, p["W_vocab"], scores)),
        part("softmax and cross-entropy", 0, 2 * P * V, partial(pool.map, entropy)),
        part("dh and dW_vocab", 4 * P * H * V, 2 * (P * H + H * V + P * V),
             partial(matmul, dscores, p["W_vocab"].T, dh), partial(matmul, hidden.T, dscores, out["W_vocab"])),
        part("gates, backward", 0, P * H * (2 + 2 * cell.states + cell.saved + 2 * G), each_step(gates_backward, True)),
        part("da Whᵀ", recurrent, steps * G * H * H + P * H + P * G * H,
             each_step(lambda worker, first, end: backward.product(dah[:, None, first:end], worker), True)),
        part("dWh", recurrent, P * H + P * G * H + H * G * H,
             lambda: matmul(states[0][packing.previous].T, dah, split_gates(out["Wh"], G))),
        part("sums by word", 0, P * G * H + U * G * H + U * D + V * D,
             partial(word_embedding_backward, by_row, (scan.ids, (U, G, H))),
             partial(word_embedding_backward, out["x"], forced.words.embedding)),
        part("dx and dWx", 4 * U * D * G * H, 2 * (U * D + D * G * H + U * G * H),
             partial(matmul, dprojected, p["Wx"].T, out["x"]), partial(matmul, scan.inputs.T, dprojected, out["Wx"])),
        part("norms of gradients and parameters", 0, 2 * size,
             partial(global_norm, grads, pool), partial(global_norm, weights, pool)),
        part("Adam", 0, 7 * size, partial(pool.map, adam)),
    ]  # fmt: skip
