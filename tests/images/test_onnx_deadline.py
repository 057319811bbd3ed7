"""A model that does not end is stopped at the deadline, when it is opened and for each image."""

import threading

import numpy as np
import pytest

from captioner.errors import DataError
from captioner.images import onnx
from captioner.images.onnx import OnnxEncoder
from faults.models import endless_model


@pytest.fixture(autouse=True)
def short_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "SECONDS", 0.3)


def running() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "captioner-deadline"]


def test_an_endless_model_is_refused_and_stopped() -> None:
    with pytest.raises(DataError) as caught:
        OnnxEncoder(endless_model(), "m.onnx", {})
    assert str(caught.value) == "m.onnx: the model takes longer than 0.3 s per image; use a smaller model or size"
    for thread in running():
        thread.join(10)
    assert not running()


def test_a_model_that_is_endless_for_some_images_encodes_the_others() -> None:
    encoder = OnnxEncoder(endless_model(above=100), "m.onnx", {})
    bright, dark = (np.full((3, 4, 4), value, np.float32) for value in (200, 50))
    for _ in range(2):
        with pytest.raises(DataError, match="takes longer than"):
            encoder.encode(bright)
        np.testing.assert_array_equal(encoder.encode(dark)[0], [50, 50, 50])
