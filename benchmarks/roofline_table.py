"""The roofline as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.markdown import Row, each, table
from benchmarks.results import Results

GIGA = 1e9


def roofline(results: Results) -> Iterator[str]:
    """Yield the table of the peaks and that of the parts of a step."""
    peaks = results["peaks"]
    names = [("product", "GFLOP/s"), *((level, "GB/s") for level in results["levels"])]
    head = (f"{name}, {unit}" for name, unit in names)
    measured = (each((rates[name] / GIGA for rates in peaks.values()), ".0f") for name, _ in names)
    yield table(" | ".join(("peaks", *head)), [("of the machine", *measured)])
    yield table("part of a step | MFLOP | MB | ms | GFLOP/s | GB/s | peak | share of the peak", _rows(results))


def _rows(results: Results) -> Iterator[Row]:
    races = results["threads"]
    for name, part in results["parts"].items():
        peak, amount = ("product", part["flops"]) if part["flops"] else (_level(results, part["bytes"]), part["bytes"])
        seconds = {count: race[name]["median"] for count, race in races.items()}
        shares = (amount / took / results["peaks"][count][peak] for count, took in seconds.items())
        yield (
            name,
            f"{part['flops'] / 1e6:,.0f}" if part["flops"] else "",
            f"{part['bytes'] / 1e6:.1f}",
            each((1e3 * took for took in seconds.values()), ".3g"),
            each((part["flops"] / took / GIGA for took in seconds.values()), ".0f") if part["flops"] else "",
            each((part["bytes"] / took / GIGA for took in seconds.values()), ".0f"),
            peak,
            each(shares, ".0%"),
        )
    whole = {count: race["ours"]["median"] for count, race in races.items()}
    parts = {count: sum(race[name]["median"] for name in results["parts"]) for count, race in races.items()}
    flops = sum(part["flops"] for part in results["parts"].values())
    shares = (flops / took / results["peaks"][count]["product"] for count, took in whole.items())
    yield ("sum of the parts", "", "", each((1e3 * took for took in parts.values()), ".3g"), "", "", "", "")
    yield (
        "whole step",
        f"{flops / 1e6:,.0f}",
        "",
        each((1e3 * took for took in whole.values()), ".3g"),
        each((flops / took / GIGA for took in whole.values()), ".0f"),
        "",
        "product",
        each(shares, ".0%"),
    )


def _level(results: Results, size: int) -> str:
    """Return the smallest level that holds so many bytes."""
    levels: dict[str, int] = results["levels"]
    return next((level for level, limit in levels.items() if size <= limit), "memory")
