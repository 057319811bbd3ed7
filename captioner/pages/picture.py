"""Pictures in HTML pages, as data URIs."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from captioner.images.photo import read_photo


def to_data_uri(picture: NDArray[np.uint8] | Path, side: int) -> str:
    """Return a picture as a data URI: pixels as PNG, a photograph as JPEG with sides of at most `side` pixels.

    Raises: DataError for a photograph that cannot be read.
    """
    if isinstance(picture, Path):
        kind, image = "jpeg", read_photo(picture, side // 2)
        image.thumbnail((side, side))
    else:
        kind, image = "png", Image.fromarray(picture)
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
