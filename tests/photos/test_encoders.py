"""Encoders: the default encoder, and the encoding of many photographs in order, with errors and bounded memory."""

import re
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from eventually import eventually
from onnx_models import model as onnx_model
from pages import ROOT
from PIL import Image

from captioner.data.scenes import ENCODER, SIDE, encode_regions, first_objects
from captioner.errors import DataError, UsageError, install_command
from captioner.photos import onnx
from captioner.photos.encoders import AHEAD, Encoder, encode_photos
from captioner.photos.onnx import EVERYDAY, SHA256
from captioner.photos.photo import decode_picture, square
from captioner.photos.recipes import ENCODERS, open_encoder


@pytest.mark.parametrize("name", ["onnx:a.onnx", "everyday"])
def test_a_missing_library_is_reported(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "captioner.photos.onnx", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError) as caught:
        open_encoder(name)
    missing = f"encoder {name}: needs onnxruntime, which is not installed; try {install_command()}"
    assert str(caught.value) == missing


def test_the_scenes_encoder() -> None:
    encoder = open_encoder("scenes")
    assert (encoder.identity, encoder.width, encoder.side) == (ENCODER, 231, SIDE)
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    np.testing.assert_array_equal(encoder.prepare(Image.fromarray(pixels)), pixels)
    features, regions = encoder.encode(pixels)
    np.testing.assert_array_equal(features, first_objects(encode_regions(pixels[None]))[0])
    np.testing.assert_array_equal(regions.reshape(9, 77), encode_regions(pixels[None])[0])
    assert encoder.regions == regions.shape == (3, 3, 77)
    photo = Image.fromarray(pixels).resize((100, 70))
    np.testing.assert_array_equal(encoder.prepare(photo), np.asarray(square(photo, SIDE)))


def test_the_help_lists_all_encoders() -> None:
    from captioner.config.options import Prepare

    hint = Prepare.__annotations__["encoder"]
    assert all(re.search(rf"\b{name}\b", str(hint)) for name in ENCODERS)


RNG = np.random.default_rng(0)
PHOTOS = [Image.fromarray(pixels) for pixels in RNG.integers(0, 256, (3, 9, 12, 3), np.uint8)]


@pytest.fixture
def channels(tmp_path: Path) -> str:
    """A model that returns the mean of each channel, of 4 x 4 pixels."""
    (tmp_path / "a b.onnx").write_bytes(onnx_model())
    return f"onnx:{tmp_path / 'a b.onnx'}:mean=0:scale=1"


def encoded(encoder: Encoder, photos: list[Image.Image] = PHOTOS) -> tuple[Any, Any]:
    features, regions = zip(*(encoder.encode(encoder.prepare(photo)) for photo in photos), strict=True)
    assert {(array.shape, array.dtype) for array in features} == {((encoder.width,), np.dtype(np.float32))}
    assert {None if array is None else array.shape for array in regions} == {encoder.regions}
    return np.stack(features), None if encoder.regions is None else np.stack(regions)


def test_an_encoder_is_thread_safe(channels: str) -> None:
    for encoder in map(open_encoder, (channels, "everyday")):
        expected = encoded(encoder)
        with ThreadPoolExecutor(4) as pool:
            for arrays in pool.map(lambda _, encoder=encoder: encoded(encoder), range(10)):
                for got, right in zip(arrays, expected, strict=True):
                    np.testing.assert_array_equal(got, right)


@pytest.mark.smoke
def test_the_default_encoder() -> None:
    encoder = open_encoder("everyday")
    assert (encoder.width, encoder.side, encoder.regions) == (1280, 256, (8, 8, 352))
    photo = Image.fromarray(RNG.integers(0, 256, (300, 400, 3), np.uint8))
    expected = (np.asarray(square(photo, 256), np.float32).transpose(2, 0, 1) - 127) / 128
    np.testing.assert_allclose(encoder.prepare(photo), expected, rtol=1e-6)
    features, _ = encoder.encode(encoder.prepare(Image.open(ROOT / "docs" / "photos" / "chelsea.jpg")))
    np.testing.assert_allclose([features.mean(), features.std()], (0.2105, 0.4728), rtol=0.01)
    assert np.argsort(-features)[:3].tolist() == [1204, 1132, 221], "as where this was written"


def test_another_file_than_the_default_encoder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The identity would be that of features that the model was not trained on."""
    other = tmp_path / "everyday.onnx"
    monkeypatch.setattr(onnx, "EVERYDAY", other)
    with pytest.raises(DataError, match=rf"^{other}: not found; expected the image encoder of captioner"):
        open_encoder("everyday")
    content = bytearray(EVERYDAY.read_bytes())
    content[len(content) // 2] ^= 1
    for changed in (bytes(content), bytes(content[:-1]), b""):
        other.write_bytes(changed)
        with pytest.raises(
            DataError, match=rf"^{other}: expected the image encoder of captioner, SHA-256 {SHA256[:16]}"
        ):
            open_encoder("everyday")


class Colours:
    """An encoder whose features are the mean colour; it counts encoded images."""

    identity = "colours"
    width = 3
    side = 2
    regions = None

    def __init__(self) -> None:
        self.calls = 0
        self.gate: Callable[[Any], object] = lambda photo: None

    def prepare(self, photo: Image.Image) -> Any:
        self.gate(photo)
        return np.asarray(photo, np.float32)

    def encode(self, prepared: Any) -> Any:
        self.calls += 1
        return prepared.mean(axis=(0, 1)), None


def write(folder: Path, count: int) -> list[Path]:
    """Photographs, the i-th of colour (i, 0, 2 i)."""
    paths = [folder / f"{i:02}.png" for i in range(count)]
    for i, path in enumerate(paths):
        Image.new("RGB", (3, 2), (i, 0, 2 * i)).save(path)
    return paths


def digest(path: Path) -> bytes:
    return decode_picture(path.read_bytes(), path.name, 8)[1]


def worker_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("encode")]


@pytest.fixture(autouse=True)
def no_thread_remains() -> Iterator[None]:
    yield
    eventually(lambda: not worker_threads())


@pytest.mark.parametrize("threads", [1, 4])
def test_photographs_are_encoded_in_order(tmp_path: Path, threads: int) -> None:
    paths, encoder = write(tmp_path, 25), Colours()
    read = [threading.Event() for _ in paths]

    def gate(photo: Image.Image) -> None:
        number = photo.getpixel((0, 0))[0]
        if threads > 1 and number % 3 == 0 and number < 24:
            assert read[number + 1].wait(60), "another thread reads the next photograph first"
        read[number].set()

    encoder.gate = gate
    photos = list(encode_photos(encoder, iter(paths), threads))
    assert [(photo.path, photo.digest) for photo in photos] == [(path, digest(path)) for path in paths]
    assert [photo.features.tolist() for photo in photos] == [[i, 0, 2 * i] for i in range(25)]
    assert encoder.calls == 25
    assert list(encode_photos(encoder, [], threads)) == []


def test_an_error_of_the_encoder_names_the_photograph_and_others_pass_unchanged(tmp_path: Path) -> None:
    class Failing(Colours):
        def encode(self, prepared: Any) -> Any:
            raise DataError("m.onnx: output f: a number is not finite")

    class Broken(Colours):
        def encode(self, prepared: Any) -> Any:
            features, regions = super().encode(prepared)
            return features * np.float32(np.nan), regions

    (path,), other = write(tmp_path, 1), DataError("b.heic: HEIC is not supported")
    error, passed = encode_photos(Failing(), [path, other])
    assert str(error) == f"{path}: m.onnx: output f: a number is not finite"
    assert passed is other
    (error,) = encode_photos(Broken(), [path])
    assert str(error) == f"{path}: {Broken.identity}: expected features of at most 1e+30, got others"


@pytest.mark.parametrize("problem", [ZeroDivisionError(), UsageError("no")])
def test_other_exceptions_are_raised(tmp_path: Path, problem: Exception) -> None:
    def fail(photo: Any = None) -> Any:
        if photo is None or photo.getpixel((0, 0))[0] == 2:
            raise problem

    def failing_paths() -> Iterator[Path]:
        yield from write(tmp_path, 2)
        fail()

    encoder = Colours()
    with pytest.raises(type(problem)):
        list(encode_photos(encoder, failing_paths(), 2))
    encoder.gate = fail
    with pytest.raises(type(problem)):
        list(encode_photos(encoder, write(tmp_path, 30), 2))


def test_closing_the_generator_cancels_pending_work(tmp_path: Path) -> None:
    encoder, stopped = Colours(), threading.Event()
    photos = encode_photos(encoder, write(tmp_path, 40), 2)
    next(photos)
    encoder.gate = lambda photo: stopped.wait(60)
    photos.close()
    before = encoder.calls
    stopped.set()
    eventually(lambda: not worker_threads())
    assert encoder.calls <= before + 2
    assert encoder.calls <= AHEAD * 2 + 3


def test_read_ahead_is_bounded(tmp_path: Path) -> None:
    (path,), requested = write(tmp_path, 1), []

    def paths() -> Iterator[Path]:
        for number in range(100):
            requested.append(number)
            yield path

    photos = encode_photos(Colours(), paths(), 2)
    next(photos)
    assert len(requested) == AHEAD * 2 + 1
    photos.close()


def test_an_error_does_not_keep_the_content_of_the_photograph(tmp_path: Path) -> None:
    photo = tmp_path / "a.png"
    photo.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(16 << 20))
    encoder = open_encoder("scenes")
    tracemalloc.start()
    try:
        errors = list(encode_photos(encoder, [photo] * 4))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [str(error) for error in errors] == [str(errors[0])] * 4
    assert all(isinstance(error, DataError) for error in errors)
    assert kept < 8 << 20
