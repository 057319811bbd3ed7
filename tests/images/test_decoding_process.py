"""A child process decodes photographs as this process does; one that exceeds its limits is replaced."""

import os
import signal
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from photographs import corners, encoded, error_of
from PIL import Image

from captioner.errors import CaptionerError, DataError
from captioner.images.decoding_process import DecodingProcess
from captioner.images.photo import decode_photo

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8))


def endless_photo() -> bytes:
    """A JPEG of 2 MB that takes minutes to decode: its last scan is repeated."""
    content = encoded(Image.new("RGB", (4000, 4000), (200, 30, 30)), "JPEG", progressive=True, quality=50)
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * (2_000_000 // (len(content) - last)) + content[-2:]


@pytest.fixture
def process() -> Iterator[DecodingProcess]:
    process = DecodingProcess()
    yield process
    process.close()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_pixels_are_those_of_this_process(kind: str, process: DecodingProcess) -> None:
    for image in (NOISE, corners()):
        content = encoded(image, kind)
        photo, expected = process.decode(content, "a", 8), decode_photo(content, "a", 8)
        assert (photo.mode, photo.size, photo.tobytes()) == (expected.mode, expected.size, expected.tobytes())


def test_errors_are_those_of_this_process(process: DecodingProcess) -> None:
    with pytest.raises(DataError) as caught:
        process.decode(b"GIF", "a.jpg", 8)
    assert str(caught.value) == f"a.jpg: {error_of(b'GIF')}"


def test_a_photograph_that_takes_too_long_is_an_error_and_the_next_one_is_decoded() -> None:
    before = signal.signal(signal.SIGALRM, signal.SIG_IGN)  # as some parents hand it down
    process = DecodingProcess(seconds=1)
    signal.signal(signal.SIGALRM, before)
    with pytest.raises(DataError, match=r"^a\.jpg: takes more than 1 s to decode; make it smaller$"):
        process.decode(endless_photo(), "a.jpg", 8)
    assert process.decode(encoded(NOISE), "b.png", 8).size == NOISE.size
    process.close()


def test_a_photograph_that_needs_too_much_memory_is_an_error() -> None:
    process = DecodingProcess(memory=1 << 29)
    with pytest.raises(DataError, match=r"^a\.png: not enough memory to read this photograph$"):
        process.decode(encoded(Image.new("RGBA", (6000, 6000)), compress_level=1), "a.png", 8)
    assert process.decode(encoded(NOISE), "b.png", 8).size == NOISE.size
    process.close()


def test_a_child_that_was_killed_is_replaced(process: DecodingProcess) -> None:
    first = process._child
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert process.decode(encoded(NOISE), "b.png", 8).size == NOISE.size
    assert process._child.pid != first.pid


def test_a_child_that_cannot_start_is_no_fault_of_the_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    """It imports from the paths of this process alone, which may be a folder where nothing is installed."""
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(CaptionerError, match=r"^the decoder of photographs cannot start \(exit code 1\)$"):
        DecodingProcess()


def test_the_child_ends_with_its_pipe(process: DecodingProcess) -> None:
    """As it does when the parent is killed."""
    assert process._child.stdin is not None
    process._child.stdin.close()
    assert process._child.wait(60) == 0
