"""python -m benchmarks.photographs FOLDER: CPU milliseconds per photograph of each part, and of the whole command.

The second table has the time and the memory of the command: for the first photograph of FOLDER and for all of them,
without a limit, on one CPU, and with a limit of the address space.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import click

from benchmarks.machine import describe
from captioner.parallel.machine import use_huge_pages
from captioner.photos.photographs import photo_paths

PARTS = "decode photographs", "resize, crop and scale", "image encoder", "decode captions"
LIMITS = {"": "", "`taskset -c 0`": "taskset -c 0", "`ulimit -v 1000000`": "ulimit -v 1000000;"}
"""What limits a command, and how a shell does it; `ulimit` is in KiB."""


def measure(folder: Path, threads: int) -> list[float]:
    """Return the CPU milliseconds per photograph of each part, of the rest, and their sum."""
    use_huge_pages()  # as the command does
    from captioner import load
    from captioner.photos import encoders, photo

    seconds: dict[str, list[float]] = defaultdict(list)

    def timed(part: str, function: Any, *arguments: Any) -> Any:
        began, result = time.thread_time(), function(*arguments)
        seconds[part].append(time.thread_time() - began)
        return result

    captioner: Any = load(overrides={"threads": threads})
    encoder, method = captioner.encoder, captioner._method
    vars(encoders)["decode_picture"] = partial(timed, PARTS[0], photo.decode_picture)
    encoder.prepare = partial(timed, PARTS[1], encoder.prepare)
    encoder.encode = partial(timed, PARTS[2], encoder.encode)
    captioner._method = method._replace(decode=partial(timed, PARTS[3], method.decode))
    started = time.process_time()
    count = len(captioner.caption([folder]))
    parts, total = [sum(seconds[part]) / count for part in PARTS], (time.process_time() - started) / count
    return [1e3 * value for value in (*parts, total - sum(parts), total)]


def run(limit: str, photos: Path) -> tuple[float, float, float]:
    """Return the seconds, the CPU seconds and the peak MiB of the command that captions photographs."""
    words = f'{limit} "$@"' if limit else '"$@"'
    command = ["sh", "-c", words, "sh", sys.executable, "-m", "captioner", "caption", str(photos)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{limit} {photos}: exit code {process.returncode}"
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


@click.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
def main(folder: Path) -> None:
    """Print the tables of docs/performance.md, of the default model and the photographs of FOLDER."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        columns = [pool.submit(measure, folder, threads).result() for threads in (1, 2)]
    print(f"{describe()['CPU']}\n\n| part | one thread (ms) | two threads (ms) |\n|---|---|---|")
    for part, *cells in zip((*PARTS, "rest", "sum"), *columns, strict=True):
        print("|", part, "|", " | ".join(f"{cell:,.1f}" for cell in cells), "|")
    photos = [photo for photo in photo_paths([folder]) if isinstance(photo, Path)]
    print("\n| photographs | limit | seconds | CPU seconds | peak memory (MiB) |\n|---|---|---|---|---|")
    for count, path in ((1, photos[0]), (len(photos), folder)):
        for name, limit in LIMITS.items():
            seconds, cpu, peak = run(limit, path)
            print(f"| {count:,} | {name} | {seconds:.1f} | {cpu:.1f} | {peak:,.0f} |")


if __name__ == "__main__":
    main()
