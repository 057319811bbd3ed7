"""Results are compared with the targets of their CPU."""

from typing import Any

import pytest

from benchmarks import shapes, targets


def a_race(ours: float, **others: float) -> dict[str, Any]:
    return {name: {"median": took} for name, took in {"ours": ours, **others}.items()}


def test_targets_are_checked_against_the_results() -> None:
    torch = {"torch eager": 2.0, "torch packed": 1.0}
    steps_of = {
        shape.key: {"threads": {"1": a_race(0.7, floor=0.6, **torch)}, "loops": {"1": a_race(0.7, loops=3.0)}}
        for shape in shapes.COCO
    }
    steps_of["rnn-64-10000"]["threads"]["1"] = a_race(1.4, floor=0.6, **torch)
    found = {
        "kind": "amd-epyc-zen4",
        "steps": steps_of,
        "decoding": {"lstm": {"threads": {"1": a_race(0.64, torch=1.0, **{"ours beam 3": 3.0})}}},
        "epochs": {"ratio": 0.95},
        "features": a_race(2.0, h5py=9.0, **{"ours in memory": 1.0}),
        "streaming": {"peak": 700.0, "share": 0.05},
        "startup": a_race(0.065, **{"import click": 0.05, "sample": 0.24}),
    }
    got = {target.name: (target.got, target.reached) for target in targets.check(found)}
    assert got["one thread: step / PyTorch best, mean"] == (pytest.approx(0.7 * 2**0.1), False)
    assert got["one thread: step / PyTorch best, worst"] == (1.4, False)
    assert got["one thread: step / PyTorch eager, mean"] == (pytest.approx(0.35 * 2**0.1), True)
    assert got["one thread: step / GEMM floor, lstm-64-1004"] == (pytest.approx(0.7 / 0.6), True)
    assert got["one thread: step / GEMM floor, lstm-256-1004"] == (pytest.approx(0.7 / 0.6), False)
    assert got["one thread: loops / LSTM step, mean"] == (pytest.approx(3 / 0.7), False)
    assert got["one thread: loops / RNN step, mean"] == (pytest.approx(3 / 0.7), True)
    assert got["one thread: LSTM greedy / PyTorch"] == (0.64, False)
    assert got["one thread: LSTM beam 3 / greedy"] == (pytest.approx(3 / 0.64), False)
    assert got["words/s of an epoch / of its training steps"] == (0.95, True)
    assert got["read a batch of features / h5py"] == (pytest.approx(1 / 9), False)
    assert got["captioner --help / import click"] == (pytest.approx(1.3), True)
    assert got["captioner sample of one image, s"] == (0.24, True)
    assert got["waiting for these features / step time"] == (0.05, True)
    assert got.pop("peak memory with 800 MB of features and memory_mib=256, MB") == (700.0, False)
    assert {got[name] for name in got if "two" in name or "memory" in name or "RNN greedy" in name} == {(None, None)}


def test_the_bounds_depend_on_the_vendor_and_bfloat16_is_not_best() -> None:
    races = {"1": a_race(0.94, floor=0.78, **{"torch packed": 1.0, "bfloat16": 0.1})}
    steps_of = {shape.key: {"threads": races, "loops": {"1": a_race(0.94, loops=3.0)}} for shape in shapes.COCO}
    worst = {}
    for kind in ("intel-xeon-6-143-amx", "amd-epyc-zen4", "arm"):
        got = {target.name: target for target in targets.check({"kind": kind, "steps": steps_of})}
        worst[kind] = got["one thread: step / PyTorch best, worst"]
        floor = got["one thread: step / GEMM floor, lstm-64-1004"]
    assert [(target.got, target.reached) for target in worst.values()] == [(0.94, True), (0.94, False), (0.94, True)]
    assert floor.bound == "<= 1.25"
