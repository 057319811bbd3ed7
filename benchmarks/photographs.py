"""python -m benchmarks.photographs FOLDER: CPU milliseconds per photograph of each part, with one and two threads."""

from __future__ import annotations

import multiprocessing
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import click

from benchmarks.machine import describe
from benchmarks.session import ROOT
from captioner.parallel.machine import use_huge_pages

PARTS = "decode photographs", "resize, crop and scale", "networks", "decode captions"


def measure(folder: Path, threads: int) -> list[float]:
    """Return the CPU milliseconds per photograph of each part, of the rest, and their sum."""
    use_huge_pages()  # as the command does
    from captioner import load
    from captioner.images import encoders

    seconds: dict[str, list[float]] = defaultdict(list)

    def timed(part: str, function: Any, *arguments: Any) -> Any:
        began, result = time.thread_time(), function(*arguments)
        seconds[part].append(time.thread_time() - began)
        return result

    captioner: Any = load(ROOT / "models" / "everyday.h5", {"threads": threads})
    encoder, method = captioner.encoder, captioner._method
    encoders.decode_photo = partial(timed, PARTS[0], encoders.decode_photo)
    encoder.prepare = partial(timed, PARTS[1], encoder.prepare)
    encoder.encode = partial(timed, PARTS[2], encoder.encode)
    captioner._method = method._replace(decode=partial(timed, PARTS[3], method.decode))
    started = time.process_time()
    count = len(list(captioner.captions(captioner.photographs([folder]))))
    parts, total = [sum(seconds[part]) / count for part in PARTS], (time.process_time() - started) / count
    return [1e3 * value for value in (*parts, total - sum(parts), total)]


@click.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
def main(folder: Path) -> None:
    """Print the table of docs/performance.md, of models/everyday.h5 and the photographs of FOLDER."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        columns = [pool.submit(measure, folder, threads).result() for threads in (1, 2)]
    print(f"{describe()['CPU']}\n\n| part | one thread (ms) | two threads (ms) |\n|---|---|---|")
    for part, *cells in zip((*PARTS, "rest", "sum"), *columns, strict=True):
        print("|", part, "|", " | ".join(f"{cell:,.1f}" for cell in cells), "|")


if __name__ == "__main__":
    main()
