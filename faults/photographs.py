"""Photographs of every format that are damaged, or small files that would need much time or memory."""

from __future__ import annotations

import io
import shutil
import signal
import subprocess
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from captioner.errors import DataError
from captioner.images.photo import FORMATS, can_read_heic, decoded
from captioner.images.structure import MAX_SCANS
from faults import watch
from faults.materials import damaged, make_album
from faults.models import ENDLESS, endless_model, run_endless
from faults.session import Figure, Row, Session, captioner, row
from faults.watch import Outcome, classify

SIDE = 48
HEAD = 512
"""The bytes of a header, where most of the damage is done."""


@cache
def photograph(kind: str) -> bytes:
    """Encode a photograph of smooth and noisy areas."""
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    rng, buffer = np.random.default_rng(0), io.BytesIO()
    pixels = np.linspace(0, 200, SIDE * SIDE * 3).reshape(SIDE, SIDE, 3) + rng.integers(0, 55, (SIDE, SIDE, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def _decode(content: bytes, min_side: int) -> Image.Image:
    with decoded(content, "photo", min_side) as photo:
        return photo


def decode_damaged(kinds: tuple[str, ...], seed: int, number: int) -> Outcome:
    """Trial k damages a photograph of one format, mostly in its header, and decodes it."""
    rng = np.random.default_rng((seed, number, 11))
    kind = kinds[number % len(kinds)]
    whole = photograph(kind)
    if rng.random() < 0.3:
        content = damaged(whole, [whole[::-1]], rng)
    else:
        changed = bytearray(whole)
        for _ in range(int(rng.integers(1, 6))):
            end = len(whole) if rng.random() < 0.2 else min(HEAD, len(whole))
            changed[int(rng.integers(end))] = int(rng.choice((0, 1, 127, 128, 255, int(rng.integers(256)))))
        content = bytes(changed)
    with warnings.catch_warnings(action="ignore"):
        outcome = classify(lambda: _decode(content, 8), lambda photo: photo.mode == "RGB", DataError)
    return outcome._replace(note=f"{kind}: {outcome.note}")


def measure(session: Session) -> Iterator[Row]:
    must = "no crash, hang or traceback"
    kinds = "photographs damaged: JPEG, PNG, GIF, BMP, WebP, TIFF, AVIF, PPM"
    yield session.run(kinds, must, partial(decode_damaged, FORMATS, session.seed), 16_000)
    if not can_read_heic():
        session.note("photographs: HEIC was skipped, since pillow-heif is not installed.")
        return
    yield session.run("photographs damaged: HEIC", must, partial(decode_damaged, ("HEIF",), session.seed), 4_000)


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
        outcome = classify(lambda: _decode(content, 224), lambda photo: False, DataError)
        return outcome._replace(note=f"{name}: {outcome.note}")


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
from captioner.images.encoders import Encoded, encode_photos
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


def measure_bombs(session: Session) -> Iterator[Row | Figure]:
    folder = session.folder("bombs")
    must = "refused with a one-line error, within 8 s and 512 MiB"
    photographs = Photograph(folder, session.seed)
    photographs.write()
    every = len(TOO_MANY_PIXELS) + 1
    yield session.run("small photographs with too many pixels or scans", must, photographs, 140, least=every)
    yield session.run("ONNX models that never end", must, run_endless, 30, least=len(ENDLESS))
    tally = watch.Tally()
    for number in range(session.count(20, least=len(BUSY))):
        tally.add(number, interrupt(list(BUSY)[number % len(BUSY)], folder / f"{number}"))
    yield row("SIGINT while a model or a decoder works", "exit code 130 within 2 s", tally)
    photo = write_flat(folder / "a.webp", LARGEST, "WEBP", lossless=True)
    alone, many = (memory_gib(photo, threads) for threads in (1, 8))
    yield {
        "what": "memory for WebP photographs of 88 megapixels with 8 threads / with 1",
        "got": round(many / alone, 2),
        "most": 1.3,
        "unit": "times",
    }
