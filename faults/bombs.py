"""Small files that would need much time or memory: photographs and ONNX models."""

from __future__ import annotations

import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

from captioner.errors import DataError
from captioner.images import onnx
from captioner.images.photo import MAX_SCANS, decode
from captioner.images.protobuf import message, node, value_info
from faults import watch
from faults.models import POOL, SHAPE
from faults.session import Figure, Row, Session, captioner, row
from faults.versions import make_album
from faults.watch import Outcome, classify

SCAN = b"\xff\xda"
LARGEST, TOO_LARGE = 9400, 9500
"""Sides of square photographs with less and more than the maximum number of pixels."""


def write_flat(path: Path, side: int, kind: str = "JPEG", **options: Any) -> Path:
    """Write a square photograph of one colour, which is a small file."""
    Image.new("RGB", (side, side), (200, 30, 30)).save(path, kind, **options)
    return path


def with_scans(content: bytes, count: int) -> bytes:
    """Repeat the last scan of a progressive JPEG."""
    last = content.rindex(SCAN)
    return content[:-2] + content[last:-2] * (count - content.count(SCAN)) + content[-2:]


TOO_MANY_PIXELS: Mapping[str, dict[str, Any]] = {
    "JPEG": {},
    "PNG": {},
    "GIF": {},
    "WEBP": {"lossless": True, "method": 0},
    "TIFF": {"compression": "tiff_lzw"},
    "AVIF": {"speed": 10},
}
"""Formats with their options for encoding."""


@dataclass(frozen=True)
class Photograph:
    """Trial k decodes a photograph with too many pixels, or with too many scans, which must be refused."""

    folder: Path
    seed: int

    def write(self) -> None:
        """Write the photographs with too many pixels, and one to add scans to."""
        for kind, options in TOO_MANY_PIXELS.items():
            write_flat(self.folder / kind, TOO_LARGE, kind, **options)
        write_flat(self.folder / "scans", 2000, progressive=True, quality=50)

    def __call__(self, number: int) -> Outcome:
        name = (*TOO_MANY_PIXELS, "scans")[number % (len(TOO_MANY_PIXELS) + 1)]
        content = (self.folder / name).read_bytes()
        if name == "scans":
            rng = np.random.default_rng((self.seed, number))
            content = with_scans(content, MAX_SCANS + int(rng.integers(1, 4000)))
        outcome = classify(lambda: decode(content, "a.jpg", 224), lambda photo: False, DataError)
        return outcome._replace(note=f"{name}: {outcome.note}")


INT64, BOOL = 7, 9
INT_MAX = (1 << 63) - 1


def scalar(name: str, kind: int) -> bytes:
    """Encode a ValueInfoProto of a scalar."""
    return message([(1, name), (2, message([(1, message([(1, kind), (2, b"")]))]))])


def constant(name: str, kind: int, raw: bytes) -> bytes:
    """Encode a scalar TensorProto."""
    return message([(2, kind), (8, name), (9, raw)])


def loop(count: str, start: str, body: bytes) -> bytes:
    """Encode a Loop node from f to g."""
    return message([(1, [count, start, "f"]), (2, "g"), (4, "Loop"), (5, message([(1, "body"), (6, body), (20, 5)]))])


def endless_model(above: float | None = None, turns: int | None = None) -> bytes:
    """Build a model that averages the pixels, and then repeats the identity for ever, or `turns` times.

    It ends at once if the largest average is not above `above`.
    """
    body = message(
        [
            (1, [node("Identity", ["again"], "go_on"), node("Identity", ["kept"], "same")]),
            (2, "body"),
            (11, [scalar("turn", INT64), scalar("again", BOOL), value_info("kept", ("N", 3))]),
            (12, [scalar("go_on", BOOL), value_info("same", ("N", 3))]),
        ]
    )
    first: list[bytes] = []
    tensors = [
        constant("turns", INT64, struct.pack("<q", turns or 0)),
        constant("limit", 1, struct.pack("<f", above or 0)),
    ]
    if above is None:
        tensors.append(constant("start", BOOL, b"\1"))
    else:
        first = [node("ReduceMax", ["f"], "most", keepdims=0), node("Greater", ["most", "limit"], "start")]
    ends = [(11, value_info("x", SHAPE)), (12, value_info("g", ("N", 3)))]
    settings = [message([(1, key), (2, text)]) for key, text in {"mean": "0", "scale": "1"}.items()]
    graph = message(
        [(1, [*POOL, *first, loop("turns" if turns else "", "start", body)]), (2, "endless"), (5, tensors), *ends]
    )
    return message([(1, 8), (7, graph), (8, message([(1, ""), (2, 17)])), (14, settings)])


MODELS: Mapping[str, Callable[[], bytes]] = {
    "no condition": endless_model,
    "for some images": lambda: endless_model(above=-1.0),
    "a number of turns": lambda: endless_model(turns=INT_MAX),
}
IMAGE = np.ones((1, 3, 4, 4), np.float32)


@dataclass(frozen=True)
class Model:
    """Trial k opens and runs a model, which must be stopped."""

    def __call__(self, number: int) -> Outcome:
        name = list(MODELS)[number % len(MODELS)]

        def run() -> object:
            return onnx.OnnxEncoder(MODELS[name](), "m.onnx", {}).encode(IMAGE)

        with mock.patch.object(onnx, "SECONDS", 0.5):
            return classify(run, lambda features: False, DataError)._replace(note=name)


PROMPT = 2.0
"""Maximum seconds from SIGINT to the end of the process."""
BUSY: Mapping[str, str] = {"an endless model": "onnx:{folder}/endless.onnx", "a JPEG with many scans": "scenes"}


def interrupt(name: str, folder: Path) -> Outcome:
    """Send SIGINT to `prepare` while a model or decoder works."""
    album = make_album(folder)
    (folder / "endless.onnx").write_bytes(endless_model())
    photo = write_flat(folder / "0.png", LARGEST, progressive=True, quality=50)
    photo.write_bytes(with_scans(photo.read_bytes(), MAX_SCANS))
    encoder = BUSY[name].format(folder=folder)
    process = captioner("prepare", album / "captions.csv", "--output", folder / "out.h5", "--encoder", encoder)
    time.sleep(3.0)  # to import the libraries and start to work
    if process.poll() is not None:
        return Outcome("wrong", f"{name}: ended before: {process.communicate()[1][-300:]}")
    process.send_signal(signal.SIGINT)
    try:
        _, stderr = process.communicate(timeout=PROMPT)
    except subprocess.TimeoutExpired:
        process.kill()
        return Outcome("hung", f"{name}: {process.communicate()[1][-300:]}")
    shutil.rmtree(folder)
    ended = process.returncode == 128 + signal.SIGINT and "Traceback" not in stderr
    return Outcome("ended" if ended else "wrong", f"{name}: exit code {process.returncode}: {stderr[-300:]}")


MEMORY = """
import sys
from pathlib import Path
from captioner.images import open_encoder
from captioner.images.encoder import Encoded, encode_photos
from faults.watch import peak_kib

threads = int(sys.argv[2])
paths = [Path(sys.argv[1])] * threads
assert all(isinstance(photo, Encoded) for photo in encode_photos(open_encoder("scenes"), paths, threads))
print(peak_kib())
"""


def memory_gib(path: Path, threads: int) -> float:
    """Measure the peak memory of a process that encodes a photograph in every thread at one time."""
    process = captioner(path, threads, code=MEMORY, stdout=subprocess.PIPE)
    out, stderr = process.communicate()
    if process.returncode:
        raise RuntimeError(stderr)
    return int(out) / 2**20


def measure(session: Session) -> Iterator[Row | Figure]:
    folder = session.folder("bombs")
    must = "refused with a one-line error, within 8 s and 512 MiB"
    photographs = Photograph(folder, session.seed)
    photographs.write()
    tally = watch.run(photographs, max(session.count(140), len(TOO_MANY_PIXELS) + 1))
    yield row("small photographs with too many pixels or scans", must, tally)
    yield row("ONNX models that never end", must, watch.run(Model(), max(session.count(30), len(MODELS))))
    tally = watch.Tally()
    for number in range(max(session.count(20), len(BUSY))):
        tally.add(number, interrupt(list(BUSY)[number % len(BUSY)], folder / f"{number}"))
    yield row("SIGINT while a model or a decoder works", "exit code 130 within 2 s", tally)
    photo = write_flat(folder / "a.webp", LARGEST, "WEBP", lossless=True)
    one, many = (memory_gib(photo, threads) for threads in (1, 8))
    yield {
        "what": "memory for WebP photographs of 88 megapixels with 8 threads / with 1",
        "got": round(many / one, 2),
        "most": 1.3,
        "unit": "times",
    }
