"""The number of scans of a JPEG file, counted without decoding.

Each scan of a progressive JPEG is one more pass over all pixels, so a small file with thousands of scans would take
minutes to decode.

Source: ITU-T T.81, Annex B.
"""

from __future__ import annotations

import re

MAX_SCANS = 100
"""As in libtiff. Encoders write about 10 scans; the decoding time of a file grows with their number."""
END_OF_IMAGE, START_OF_SCAN = 0xD9, 0xDA
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])", re.DOTALL)
"""A marker that ends the image or begins a segment with a length."""


def count_scans(content: bytes) -> int:
    """Count the scans of the first image of a JPEG file, up to `MAX_SCANS` + 1."""
    scans, at = 0, 0
    while scans <= MAX_SCANS and (marker := _MARKER.search(content, at)):
        code, at = marker[1][0], marker.end()
        if code == END_OF_IMAGE:
            break
        scans += code == START_OF_SCAN
        at += max(2, int.from_bytes(content[at : at + 2], "big"))
    return scans
