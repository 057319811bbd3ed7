"""python -m benchmarks.serve: requests per second, latencies and memory of `captioner serve`.

The clients run in this process, on the same machine, each with one connection, and send the next photograph when the
last one is captioned. The server is that of the command, with its default limits.
"""

from __future__ import annotations

import http.client
import io
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.parse import urlsplit

import click
import numpy as np
from PIL import Image

from benchmarks.machine import describe
from benchmarks.results import Row, insert, table
from benchmarks.session import ROOT, SMALL, run
from captioner.arrays import Array

PAGE = ROOT / "docs" / "serve.md"
CLIENTS = (1, 8, 32)
REQUESTS = {"photographs": 300, "scenes": 2000}
"""Requests of a measurement, by the photographs of a server."""
MANY = 10_000
"""Requests of the measurement of memory."""
PERCENTILES = (50, 95, 99)


class Load(NamedTuple):
    """The measurement of a number of clients: requests per second, and percentiles of latency in ms."""

    clients: int
    rate: float
    latencies: tuple[float, ...]


class Server(NamedTuple):
    """A running server and the photographs to send to it."""

    port: int
    pid: int
    photos: Sequence[bytes]

    def memory(self) -> float:
        """Return the resident memory in MB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        (kilobytes,) = re.findall(r"VmRSS:\s+(\d+) kB", status)
        return int(kilobytes) * 1024 / 1e6


@contextmanager
def started(model: Path, photos: Sequence[bytes]) -> Iterator[Server]:
    """Start a server, and stop it at the end."""
    command = [sys.executable, "-m", "captioner", "serve", str(model), "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        try:
            yield Server(urlsplit(process.stdout.readline().strip()).port or 0, process.pid, photos)
        finally:
            process.terminate()


def photographs(count: int = 8) -> list[bytes]:
    """Make JPEG files of the size of photographs, 1,024 x 768, with areas and noise."""
    files = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        areas = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize((1024, 768))
        noisy = np.asarray(areas) + rng.normal(0, 12, (768, 1024, 3))
        files.append(encoded(noisy.clip(0, 255).astype(np.uint8), "JPEG", quality=85))
    return files


def scenes(count: int = 8) -> list[bytes]:
    """Make PNG files of generated scenes."""
    from captioner.data.scenes import example

    return [encoded(example(0, "test", number).picture, "PNG") for number in range(count)]


def encoded(picture: Array, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()


def send(server: Server, clients: int, requests: int) -> list[float]:
    """Send requests, shared by the clients, and return their latencies in seconds; every answer must be a caption."""
    numbers = iter(range(requests))

    def client(_: int) -> list[float]:
        spent = []
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)) as connection:
            while (number := next(numbers, None)) is not None:
                began = time.perf_counter()
                connection.request("POST", "/caption", server.photos[number % len(server.photos)])
                answer = connection.getresponse()
                body = answer.read()
                spent.append(time.perf_counter() - began)
                if answer.status != 200:
                    raise RuntimeError(f"{answer.status}: {body.decode()}")
        return spent

    with ThreadPoolExecutor(clients) as pool:
        return [seconds for spent in pool.map(client, range(clients)) for seconds in spent]


def load(server: Server, clients: int, requests: int) -> Load:
    """Measure the rate and the latencies, after a warm-up."""
    send(server, clients, max(clients, requests // 10))
    began = time.perf_counter()
    latencies = send(server, clients, requests)
    elapsed = time.perf_counter() - began
    percentiles = tuple(1e3 * float(np.percentile(latencies, share)) for share in PERCENTILES)
    return Load(clients, requests / elapsed, percentiles)


def growth(server: Server, requests: int) -> list[tuple[int, float]]:
    """Return the memory after each fifth of the requests."""
    memory = []
    for fifth in range(1, 6):
        send(server, 8, requests // 5)
        memory.append((fifth * requests // 5, server.memory()))
    return memory


def rows(name: str, loads: Sequence[Load]) -> Iterator[Row]:
    """Yield the rows of a server."""
    for clients, rate, latencies in loads:
        yield name, str(clients), f"{rate:.1f}", *(f"{latency:.0f}" for latency in latencies)


@click.command()
@click.option("--model", type=click.Path(path_type=Path, exists=True), default=ROOT / "models" / "flickr8k")
@click.option("--quick", is_flag=True, help="Smoke test with few requests; the page is not written.")
def main(model: Path, quick: bool) -> None:
    """Measure a model of photographs and one of generated scenes; write the tables of docs/serve.md."""
    measured: list[Row] = []
    clients = CLIENTS[:2] if quick else CLIENTS
    with TemporaryDirectory() as folder:
        small = Path(folder, "run")
        run("-m", "captioner", "train", *(f"--set={option}" for option in SMALL), "--run", small)
        counts = dict.fromkeys(REQUESTS, 16) if quick else REQUESTS
        with started(model, photographs()) as server:
            loads = [load(server, number, counts["photographs"]) for number in clients]
            measured += rows(f"`{model.name}`, 1,024 x 768 pixels", loads)
        with started(small, scenes()) as server:
            loads = [load(server, number, counts["scenes"]) for number in clients]
            measured += rows("generated scenes, 64 x 64 pixels", loads)
            memory = growth(server, 100 if quick else MANY)
    head = "model and photographs | clients | requests/s | median ms | 95 % ms | 99 % ms"
    parts = [table(head, measured), table("requests | memory in MB", [(f"{n:,}", f"{mb:.1f}") for n, mb in memory])]
    about = describe()
    parts.append(f"`python -m benchmarks.serve` on {about['CPU']}, {about['on']}.")
    text = "\n\n".join(parts)
    print(text)
    if not quick:
        PAGE.write_text(insert(PAGE.read_text(), text))


if __name__ == "__main__":
    main()
