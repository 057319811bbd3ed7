"""Damaged photographs of every format, HEIC included if pillow-heif is installed."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from captioner.errors import DataError
from captioner.images.photo import FORMATS, can_read_heic, decode
from faults import watch
from faults.damage import damaged
from faults.session import Row, Session, row
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


@dataclass(frozen=True)
class Damaged:
    """Trial k damages a photograph of one format, mostly in its header, and decodes it."""

    kinds: tuple[str, ...]
    seed: int

    def __call__(self, number: int) -> Outcome:
        rng = np.random.default_rng((self.seed, number, 11))
        kind = self.kinds[number % len(self.kinds)]
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
            outcome = classify(lambda: decode(content, "photo", 8), lambda photo: photo.mode == "RGB", DataError)
        return outcome._replace(note=f"{kind}: {outcome.note}")


def measure(session: Session) -> Iterator[Row]:
    must = "no crash, hang or traceback"
    yield row(
        "photographs damaged: JPEG, PNG, GIF, BMP, WebP, TIFF, AVIF, PPM",
        must,
        watch.run(Damaged(FORMATS, session.seed), session.count(4_000)),
    )
    if not can_read_heic():
        session.note("photographs: HEIC was skipped, since pillow-heif is not installed.")
        return
    yield row("photographs damaged: HEIC", must, watch.run(Damaged(("HEIF",), session.seed), session.count(1_000)))
