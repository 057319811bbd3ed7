"""The scans of a JPEG file are counted as libjpeg would decode them, and too many are refused."""

import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from captioner.errors import DataError
from captioner.images.photo import MAX_SCANS, count_scans, decode

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
SCAN = b"\xff\xda"


def jpeg(**options: Any) -> bytes:
    buffer = io.BytesIO()
    NOISE.save(buffer, **{"format": "JPEG", "quality": 95, **options})
    return buffer.getvalue()


def with_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    content = jpeg(progressive=True)
    last = content.rindex(SCAN)
    repeats = count - count_scans(content)
    return content[:-2] + content[last:-2] * repeats + content[-2:]


def test_scans_are_counted() -> None:
    assert count_scans(jpeg()) == 1
    assert count_scans(jpeg(restart_marker_rows=1)) == 1
    assert count_scans(jpeg(progressive=True)) == 10  # the default script of libjpeg for colours
    assert count_scans(with_scans(30)) == 30


def test_only_scans_of_the_first_image_are_counted() -> None:
    assert count_scans(jpeg() + SCAN * 200) == 1
    assert count_scans(jpeg(format="MPO", save_all=True, append_images=[NOISE] * 3)) == 1
    assert count_scans(jpeg(exif=b"Exif\0\0" + with_scans(50)[:60_000])) == 1
    assert count_scans(jpeg(comment=SCAN * 200)) == 1


@pytest.mark.parametrize("content", [b"", b"\xff", b"\xff\xd8", SCAN, SCAN + b"\0", b"\xff" * 10_000])
def test_truncated_files_have_a_count(content: bytes) -> None:
    assert count_scans(content) == content.count(SCAN)


def test_bytes_between_segments_hide_no_scan() -> None:
    """libjpeg skips such bytes, reserved markers in entropy-coded data and lengths below 2."""
    scans = with_scans(MAX_SCANS + 1)
    for between in (b"junk", b"\xff\x02\xff\xff", b"\xff\0", b"\xff\xd0", b"\xff\xff", b"\xff\xe0\0\0", b"\xff\xd8"):
        assert count_scans(scans.replace(SCAN, between + SCAN)) > MAX_SCANS


@pytest.mark.parametrize("kind", ["JPEG", "MPO"])
def test_too_many_scans_are_refused(kind: str) -> None:
    content = with_scans(MAX_SCANS + 1)
    if kind == "MPO":
        content = re.sub(rb"^\xff\xd8", lambda found: found[0] + MPO, content)
    with pytest.raises(DataError) as caught:
        decode(content, "a.jpg", 8)
    assert str(caught.value) == "a.jpg: expected a JPEG with at most 100 scans, got more; save it again"


MPO = jpeg(format="MPO", save_all=True, append_images=[NOISE])
MPO = MPO[2 : MPO.index(b"\xff\xdb")]
"""The segments of an MPO file before its tables."""


def test_the_maximum_number_of_scans_is_decoded() -> None:
    assert decode(with_scans(MAX_SCANS), "a.jpg", 64).size == NOISE.size
