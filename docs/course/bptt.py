"""Write docs/course/bptt.html: the backward pass through time of a small network, one step at a time.

The loop is that of plain.py, correct or with a mistake. Each of its steps is computed by captioner's layers.
"""

from __future__ import annotations

import inspect
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import plain

from captioner import cs231n
from captioner.teaching.function_checks import Exercises, check_functions

FOLDER = Path(__file__).parent
SEED = 1
"""All gradients are large enough to read, and those of the RNN and of a forget bias of 0 vanish, as usual."""
T, D, H = 6, 2, 3
NETWORKS = {"rnn": 0, "lstm-0": 0, "lstm-1": 1, "lstm-3": 3}
"""The networks and their forget biases."""
MISTAKES = {"forget": ("dh[:, t] + dprev_h", "dh[:, t]"), "assign": ("dWh += dWh_t", "dWh = dWh_t")}
"""Parts of plain.py, and what replaces them."""
RUNS = {" ".join(chosen): chosen for n in range(3) for chosen in itertools.combinations(MISTAKES, n)}


def loop(mistakes: tuple[str, ...]) -> dict[str, Any]:
    """Execute plain.py with mistakes, and return its functions."""
    functions: dict[str, Any] = {}
    source = inspect.getsource(plain)
    for correct, wrong in map(MISTAKES.__getitem__, mistakes):
        assert correct in source
        source = source.replace(correct, wrong)
    exec(source, functions)
    return functions


def inputs(network: str) -> tuple[np.ndarray[Any, Any], ...]:
    """Return dh, x, h0, Wx, Wh and b of a network; one decimal each, so that a step can be checked by hand."""
    rng = np.random.default_rng(SEED)
    bounds = {(1, T, D): (0.3, 1.3), (1, H): (0.2, 0.8), (1, T, H): (0.2, 1.5)}
    x, h0, dh = (rng.choice((-1, 1), shape) * rng.uniform(*bound, shape) for shape, bound in bounds.items())
    weights = {gates: [0.8 * rng.standard_normal((n, gates * H)) for n in (D, H)] for gates in (1, 4)}
    Wx, Wh = weights[1 if network == "rnn" else 4]
    b = np.zeros(len(Wh[0]))
    b[H : 2 * H] = NETWORKS[network]
    return *(np.round(array, 1) for array in (dh, x, h0, Wx, Wh)), b


def backward(network: str, mistakes: tuple[str, ...], only_last: bool = False) -> list[dict[str, Any]]:
    """Run the loop over captioner's steps, and return a record of each; with `only_last`, only dh_T is not 0."""
    functions, cell = loop(mistakes), network.partition("-")[0]
    dh, x, h0, *params = inputs(network)
    if only_last:
        dh[:, :-1] = 0
    records: list[dict[str, Any]] = []
    step = getattr(cs231n, f"{cell}_step_backward")

    def recorded(*douts_and_cache: Any) -> Any:
        *douts, cache = douts_and_cache
        grads = step(*douts_and_cache)
        local = sys._getframe(1).f_locals  # of the loop, before this step
        dx, dprev_h, *dprev_c, dWx, dWh, db = grads
        record = {"dprev_h": local["dprev_h"], "dnext_h": douts[0], "da": db, "dx": dx, "out_h": dprev_h}
        record |= {"dWx": dWx, "dWh": dWh, "sum": local["dWh"].copy(), "x": cache.x, "prev_h": cache.prev_h}
        if dprev_c:
            *_, dh_dc, f = cache.saved
            record |= {"dnext_c": douts[1], "dh_dc": dh_dc, "dc": douts[1] + douts[0] * dh_dc, "f": f}
            record |= {"out_c": dprev_c[0]}
        else:
            record["derivative"] = cache.saved[0]
        records.insert(0, record | {"norm": np.sqrt(sum((dout**2).sum() for dout in douts))})
        return grads

    functions |= {f"{cell}_step_forward": getattr(cs231n, f"{cell}_step_forward"), f"{cell}_step_backward": recorded}
    _, cache = functions[f"{cell}_forward"](x, h0, *params)
    _, _, _, dWh, _ = functions[f"{cell}_backward"](dh, cache)
    sums = [dWh, *(record["sum"] for record in records)]  # the sum after a step is the one before the next
    return [record | {"sum": after} for record, after in zip(records, sums, strict=False)]


def checked(cell: str, mistakes: tuple[str, ...]) -> list[str]:
    """Return what the checker reports about the functions of plain.py with mistakes."""
    names = [f"{part}_{way}" for part in (f"{cell}_step", cell) for way in ("forward", "backward")]
    functions = loop(mistakes)
    results = check_functions({name: functions[name] for name in names}, Exercises(vars(cs231n)))
    return [f"{result.name}: {result.problem or 'PASS'}" for result in results]


def say(t: int, mistakes: tuple[str, ...], left: float, later: dict[str, Any]) -> str:
    """Describe step t in words; `left` is the share of the norm that is left, `later` the record of step t + 1."""
    if t == T:
        text = f"The loop starts at the last step. No step reads h_{T}: its gradient is dh_{T} alone. "
        return text + ("A mistake makes no difference yet." if mistakes else f"dWh has the term of step {T} only.")
    if "forget" in mistakes:
        text = f"Only the output's part dh_{t} enters; dprev_h, which step {t + 1} computed, is lost. "
        text += "" if "f" in later else f"da is right at step {T} only. "
    else:
        text = f"h_{t} is read twice, by the output and by step {t + 1}: dh_{t} and dprev_h add up. "
    if "f" in later:
        text += f"Through c comes dc ⊙ f of step {t + 1}; its f is {later['f'].mean():.2f} on average. "
    if "assign" in mistakes:
        overwritten = {1: f"step {T}", 2: f"steps {T - 1} and {T}"}.get(T - t, f"steps {t + 1} to {T}")
        text += f"dWh is the term of step {t} alone: = has overwritten {overwritten}. "
    elif not mistakes:
        text += f"dWh is the sum of {T + 1 - t} of {T} terms. "
    percent = f"{100 * left:.2g} %" if left else "nothing"
    return text + f"Of a gradient that starts at step {T}, {percent} of the norm arrives here."


def run(network: str, mistakes: tuple[str, ...]) -> dict[str, Any]:
    """Return the records of a network with mistakes, the shares of a norm that are left, and sentences."""
    norms = [record["norm"] for record in backward(network, mistakes, only_last=True)]
    left = [norm / norms[-1] for norm in norms]
    steps = backward(network, mistakes)
    texts = [say(t, mistakes, left[t - 1], steps[min(t, T - 1)]) for t in range(1, T + 1)]
    return {"steps": steps, "left": left, "say": texts}


def plain_values(value: Any) -> Any:
    """Convert arrays to nested lists of rounded numbers, without the axis of the one caption."""
    if isinstance(value, dict):
        return {key: plain_values(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain_values(part) for part in value]
    if isinstance(value, np.ndarray | float):
        array = np.round(value, 6) + 0.0  # no -0.0
        return (array[0] if array.ndim == 2 and len(array) == 1 else array).tolist()
    return value


def render() -> str:
    """Return the page."""
    data: dict[str, Any] = {"dh": inputs("rnn")[0][0], "mistakes": MISTAKES}
    data["networks"] = {name: {key: run(name, mistakes) for key, mistakes in RUNS.items()} for name in NETWORKS}
    data["reports"] = {c: {key: checked(c, mistakes) for key, mistakes in RUNS.items()} for c in ("rnn", "lstm")}
    data["weights"] = {name: dict(zip(("Wx", "Wh", "b"), inputs(name)[3:], strict=True)) for name in NETWORKS}
    text = json.dumps(plain_values(data), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return (FOLDER / "bptt-template.html").read_text(encoding="utf-8").replace("/*DATA*/", text)


if __name__ == "__main__":
    (FOLDER / "bptt.html").write_text(render(), encoding="utf-8")
