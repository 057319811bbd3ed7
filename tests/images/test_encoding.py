"""Encoding of many photographs: order, errors, bounded memory."""

import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoded_photos import Colours, digest, write
from PIL import Image

from captioner.errors import DataError, UsageError
from captioner.images import photo
from captioner.images.encoder import AHEAD, Encoded, encode_photos
from captioner.parallel.memory import Budget


def worker_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("encode")]


@pytest.fixture(autouse=True)
def no_thread_remains() -> Iterator[None]:
    yield
    for thread in worker_threads():
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize("threads", [1, 4])
def test_photographs_are_encoded_in_order(tmp_path: Path, threads: int) -> None:
    paths, encoder = write(tmp_path, 25), Colours()
    encoder.gate = lambda photo: time.sleep(0.002 if photo.getpixel((0, 0))[0] % 3 == 0 else 0)
    found = list(encode_photos(encoder, iter(paths), threads))
    assert [(photo.path, photo.digest) for photo in found] == [(path, digest(path)) for path in paths]
    assert [photo.features.tolist() for photo in found] == [[i, 0, 2 * i] for i in range(25)]
    assert encoder.calls == 25


def test_no_photographs_yield_nothing() -> None:
    assert list(encode_photos(Colours(), [], 3)) == []


def test_unreadable_photographs_are_skipped(tmp_path: Path) -> None:
    paths = write(tmp_path, 3)
    paths[1].write_bytes(b"a dog")
    paths[1:1] = [tmp_path / "no.png", tmp_path]
    found = list(encode_photos(Colours(), paths, 2))
    assert [type(photo) for photo in found] == [Encoded, DataError, DataError, DataError, Encoded]
    assert [str(error) for error in found[1:3]] == [
        f"{tmp_path / 'no.png'}: not found; expected a photograph; check the name",
        f"{tmp_path}: expected a regular file, got a folder",
    ]
    assert str(found[3]).startswith(f"{paths[3]}: expected a photograph (")


def test_an_encoder_error_names_the_photograph(tmp_path: Path) -> None:
    class Failing(Colours):
        def encode(self, batch: Any) -> Any:
            raise DataError("m.onnx: output f: a number is not finite")

    (path,) = write(tmp_path, 1)
    (error,) = encode_photos(Failing(), [path])
    assert isinstance(error, DataError)
    assert str(error) == f"{path}: m.onnx: output f: a number is not finite"


def test_known_photographs_are_not_encoded_again(tmp_path: Path) -> None:
    paths, encoder = write(tmp_path, 6), Colours()
    found = list(encode_photos(encoder, paths, 2, (digest(path) for path in paths[::2])))
    assert [photo.features is None for photo in found] == [True, False] * 3
    assert [photo.digest for photo in found] == [digest(path) for path in paths]
    assert encoder.calls == 3


def test_the_same_photograph_twice_has_the_same_features(tmp_path: Path) -> None:
    (path,) = write(tmp_path, 1)
    copy = tmp_path / "copy.png"
    copy.write_bytes(path.read_bytes())
    one, two, three = encode_photos(Colours(), [path, path, copy], 2)
    assert one.digest == two.digest == three.digest
    for other in (two, three):
        assert one.features is not None
        np.testing.assert_array_equal(one.features, other.features)


@pytest.mark.parametrize("problem", [ZeroDivisionError(), UsageError("no")])
def test_other_exceptions_are_raised(tmp_path: Path, problem: Exception) -> None:
    def fails(photo: Any) -> None:
        if photo.getpixel((0, 0))[0] == 2:
            raise problem

    encoder, got = Colours(), []
    encoder.gate = fails
    with pytest.raises(type(problem)):
        got.extend(encode_photos(encoder, write(tmp_path, 30), 2))
    assert all(isinstance(photo, Encoded) for photo in encode_photos(Colours(), write(tmp_path, 2)))


def test_an_exception_of_the_iterator_is_raised(tmp_path: Path) -> None:
    def paths() -> Iterator[Path]:
        yield from write(tmp_path, 2)
        raise KeyError("list")

    with pytest.raises(KeyError, match="list"):
        list(encode_photos(Colours(), paths(), 2))


def test_closing_the_generator_cancels_pending_work(tmp_path: Path) -> None:
    encoder, stopped = Colours(), threading.Event()
    paths = write(tmp_path, 40)
    found = encode_photos(encoder, paths, 2)
    next(found)
    encoder.gate = lambda photo: stopped.wait(10)
    found.close()
    before = encoder.calls
    stopped.set()
    for thread in worker_threads():
        thread.join(10)
    assert not worker_threads()
    assert encoder.calls <= before + 2
    assert encoder.calls <= AHEAD * 2 + 3


def test_read_ahead_is_bounded(tmp_path: Path) -> None:
    (path,), requested = write(tmp_path, 1), []

    def paths() -> Iterator[Path]:
        for number in range(100):
            requested.append(number)
            yield path

    found = encode_photos(Colours(), paths(), 2)
    next(found)
    assert len(requested) == AHEAD * 2 + 1
    found.close()


class Largest:
    """The largest number of photographs that are decoded and prepared at one time."""

    def __init__(self) -> None:
        self.number, self.now, self.lock = 0, 0, threading.Lock()

    def __call__(self, photo: Any) -> None:
        with self.lock:
            self.now += 1
            self.number = max(self.number, self.now)
        time.sleep(0.01)
        with self.lock:
            self.now -= 1


@pytest.mark.parametrize(("pixels", "expected"), [(6, 1), (17, 2), (1000, 4)])
def test_threads_share_a_budget_of_pixels(
    pixels: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The photographs have 6 pixels, one of them has 24."""
    paths, encoder, largest = write(tmp_path, 12), Colours(), Largest()
    Image.new("RGB", (6, 4)).save(paths[5])
    encoder.gate = largest
    monkeypatch.setattr(photo, "_budget", Budget(pixels))
    assert all(isinstance(photo, Encoded) for photo in encode_photos(encoder, paths, 4))
    assert largest.number <= expected
    assert largest.number == expected or expected > 2  # more depend on the scheduling of threads


@pytest.mark.parametrize("options", [{"progressive": True}, {}])
def test_a_progressive_jpeg_counts_at_full_size(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserved: list[int] = []
    budget = Budget(1 << 30)
    monkeypatch.setattr(photo, "_budget", budget)
    monkeypatch.setattr(budget, "reserve", lambda pixels: reserved.append(pixels) or nullcontext())
    Image.new("RGB", (800, 400)).save(tmp_path / "a.jpg", **options)
    list(encode_photos(Colours(), [tmp_path / "a.jpg"]))
    assert reserved == [800 * 400 if options else 100 * 50]
