"""Caption one photograph of a request, in a worker."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from captioner.errors import ConfigError, DataError
from captioner.images.encoder import Encoded, Encoder, encode_prepared
from captioner.images.photo import PixelLimitError, decoded, is_heic
from captioner.inference.caption import Caption
from captioner.inference.captioner import Captioner
from captioner.parallel.memory import Budget
from captioner.report.pictures import image_to_data_uri
from captioner.serve.decoding_options import Decoding, DecodingOptions, invalid
from captioner.serve.limits import Limits, RequestError
from captioner.serve.upload import Upload

PREVIEW = 960
"""The longest side of the picture on the page, in pixels."""


class CaptionResult(NamedTuple):
    """The caption of a photograph, the seconds of each step, and for a page the photograph and its square centre."""

    caption: Caption
    seconds: dict[str, float]
    preview: str = ""
    square: str = ""


class Service:
    """A captioner with its encoder, as requests use it. All methods are thread-safe."""

    def __init__(self, captioner: Captioner, encoder: Encoder, name: str, limits: Limits) -> None:
        self.captioner, self.encoder, self.name, self.limits = captioner, encoder, name, limits
        self.options = DecodingOptions(captioner)
        # Its own, and as large as all workers need: in the shared one, a photograph that takes long to decode would
        # block others that wait for its pixels.
        self._budget = Budget(2 * limits.workers * limits.max_pixels)

    def caption(self, upload: Upload, with_pictures: bool = False) -> CaptionResult:
        """Caption a photograph, with pictures for a page if asked for.

        Raises: RequestError for a photograph that cannot be read, or for its options; CaptionerError for a failure of
        the model, whose message may contain paths.
        """
        seconds: dict[str, float] = {}
        decoding = self.options.decoding(upload.options)
        with _timed(seconds, "photograph"):
            prepared, preview, square = self._decode(upload, with_pictures, decoding.attention)
        with _timed(seconds, "encoder"):
            regions = self.captioner.loaded.meta.region_dim > 0
            features, grid = encode_prepared(self.encoder, prepared, regions)
        with _timed(seconds, "caption"):
            digest = hashlib.sha256(upload.content).digest()
            caption = self._search(Encoded(Path(), digest, features, grid), upload.name, decoding)
        return CaptionResult(caption, seconds, preview, square)

    def _decode(self, upload: Upload, with_pictures: bool, attention: bool) -> tuple[Any, str, str]:
        """Decode a photograph; return the input of the encoder, and data URIs of the photograph and of its centre."""
        name, side, limit = upload.name, self.encoder.side, self.limits.max_pixels
        try:
            with decoded(upload.content, name, side, limit, self._budget) as photo:
                prepared = self.encoder.prepare(photo)
                preview = image_to_data_uri(photo, PREVIEW) if with_pictures else ""
                square = image_to_data_uri(photo, PREVIEW // 3, is_square=True) if with_pictures and attention else ""
                return prepared, preview, square
        except PixelLimitError as error:
            raise RequestError(413, str(error)) from None
        except DataError as error:
            if is_heic(upload.content):  # its message names the command that installs a library
                raise RequestError(422, f"{name}: cannot be read as HEIC; try JPEG") from None
            raise RequestError(422, str(error)) from None

    def _search(self, photo: Encoded, name: str, decoding: Decoding) -> Caption:
        captioner = self.captioner.with_decoding(decoding.decode)
        try:
            decoded = captioner.decode_photos([photo], self.encoder.identity, decoding.n_best, decoding.attention)
            return next(decoded).caption(name)
        except ConfigError as error:  # words that the vocabulary lacks
            raise invalid(error) from None


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - began
