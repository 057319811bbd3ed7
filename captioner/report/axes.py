"""The axes of charts: scales from values to places, ticks at round numbers, and their labels."""

from __future__ import annotations

import math
from typing import NamedTuple

DECADES = 1.5
"""A log axis that spans fewer powers of ten also has ticks at 2 and 5 times a power of ten."""
NARROW = 1e-9
"""Values whose relative difference is smaller are drawn as one value."""


class Scale(NamedTuple):
    """An axis from `low` to `high`, linear or logarithmic, with ticks at round numbers."""

    low: float
    high: float
    is_log: bool
    ticks: list[float]

    def place(self, value: float) -> float:
        """Return the place of a value: 0 at the low end and 1 at the high end."""
        if self.is_log:
            low, high = math.log10(self.low), math.log10(self.high)
            return (math.log10(max(value, self.low)) - low) / (high - low)
        return (value - self.low) / (self.high - self.low)


def linear(low: float, high: float, count: int = 5) -> Scale:
    """Make a linear axis that contains `low` and `high`, with about `count` intervals of 1, 2 or 5 times 10^k."""
    if not high - low > NARROW * max(abs(low), abs(high)):
        pad = max(abs(low), abs(high)) * 0.1 or 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [number * step for number in range(first, last + 1)]
    return Scale(ticks[0], ticks[-1], False, ticks)


def tight(low: float, high: float) -> Scale:
    """Make a linear axis that ends at `high`, and begins at 0 or `low`; the ticks are inside."""
    if not high - low > NARROW * max(abs(low), abs(high)):
        return linear(low, high, 2)
    low = 0.0 if 0 <= low < high / 2 else low
    ticks = [tick for tick in linear(low, high).ticks if low <= tick <= high]
    return Scale(low, high, False, ticks)


def logarithmic(low: float, high: float) -> Scale:
    """Make a log axis that contains the positive numbers `low` and `high`, with ticks at powers of ten."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    is_short = math.log10(high / low) < DECADES
    factors = (1, 2, 5) if is_short else (1,)
    every = 1 if is_short else max(1, math.ceil((last - first) / 6))
    ticks = [factor * 10.0**power for power in range(first, last + 1, every) for factor in factors]
    below = max((tick for tick in ticks if tick <= low * 1.0000001), default=10.0**first)
    above = min((tick for tick in ticks if tick >= high * 0.9999999), default=10.0**last)
    above = above if above > below else below * 10
    return Scale(below, above, True, [tick for tick in ticks if below <= tick <= above])


def short(value: float) -> str:
    """Write the label of a tick: `label`, or 200k for 200,000, which is as short as other labels."""
    for unit, power in (("M", 1e6), ("k", 1e3)):
        if abs(value) >= max(power, 1e4):
            return f"{label(value / power)}{unit}"
    return label(value)


def label(value: float) -> str:
    """Write a value: at most four significant digits."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e6:
        text = f"{value:,.{max(0, 3 - math.floor(math.log10(abs(value))))}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa, _, exponent = f"{value:.3g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa
