"""python -m benchmarks.encoders [RECIPE...]: milliseconds per photograph of image encoders on one thread."""

from __future__ import annotations

import statistics
import time
from functools import partial

import click
import numpy as np
from PIL import Image

from benchmarks.machine import describe
from benchmarks.timing import Timer, metered
from captioner.images import open_encoder
from captioner.images.encoders import Encoder
from captioner.images.recipe import parse_recipe

RECIPES = ("efficientnet-lite0", "efficientnet-lite0:size=288", "efficientnet-lite2:size=320", "richer")


@click.command()
@click.argument("recipes", nargs=-1, metavar="[RECIPE]...")
@click.option("--repeats", type=click.IntRange(min=1), default=15, show_default=True, help="Number of calls.")
@click.option("--patience", type=float, default=240, show_default=True, help="Seconds to wait for an idle machine.")
def main(recipes: tuple[str, ...], repeats: int, patience: float) -> None:
    """Time each RECIPE, by default the default encoder, the parts of `richer`, and all of it."""
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (375, 500, 3), np.uint8))
    timer = Timer(patience=patience)
    machine = describe()
    print(f"{machine['CPU']}; one thread; medians of {repeats} calls with a photograph of 500 x 375 pixels\n")
    print("| encoder | numbers | resize and crop (ms) | network (ms) |\n|---|---|---|---|")
    for recipe in recipes or RECIPES:
        encoder = open_encoder(recipe)
        encoder.encode(encoder.prepare(photo))
        resize, network = timer.undisturbed(partial(metered, partial(_milliseconds, encoder, photo, repeats)))
        name = "+".join(map(str, parse_recipe(recipe)))
        print(f"| `{name}` | {encoder.width:,} | {resize:.1f} | {network:.1f} |")


def _milliseconds(encoder: Encoder, photo: Image.Image, repeats: int) -> tuple[float, float]:
    """Return the medians of the time to prepare a photograph and of the time to encode it."""
    resize, network = [], []
    for _ in range(repeats):
        began = time.perf_counter()
        prepared = encoder.prepare(photo)
        between = time.perf_counter()
        encoder.encode(prepared)
        resize.append(between - began)
        network.append(time.perf_counter() - between)
    return 1e3 * statistics.median(resize), 1e3 * statistics.median(network)


if __name__ == "__main__":
    main()
