"""Protocol buffers: encoded as documented; models with external data are rejected before onnxruntime opens them."""

import zlib
from unittest import mock

import numpy as np
import pytest
from onnx_faults import PLACES, POOL, TRICKS, entries, model, nested, tensor

from captioner.errors import DataError
from captioner.images import onnx, protobuf
from captioner.images.onnx import OnnxEncoder
from captioner.images.protobuf import message, node, refuse_external_data


def test_varint_encoding() -> None:
    assert message([(1, 150)]) == bytes.fromhex("089601")  # the example of their documentation
    assert message([(2, "testing")]) == bytes.fromhex("120774657374696e67")
    assert message([(1, [1, 300]), (16, b"")]) == bytes.fromhex("080108ac02820100")
    assert zlib.crc32(message([(3, 1 << 40)])) == zlib.crc32(bytes.fromhex("18808080808020"))


def error_of(content: bytes) -> str:
    with mock.patch.object(onnx.onnxruntime, "InferenceSession") as opened, pytest.raises(DataError) as caught:
        OnnxEncoder(content, "m.onnx", {})
    assert not opened.called
    return str(caught.value)


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("place", PLACES)
def test_external_data_is_rejected_before_the_model_is_opened(place: str, trick: str) -> None:
    assert error_of(PLACES[place](TRICKS[trick]("/etc/passwd"))).startswith("m.onnx: expected an ONNX model")


@pytest.mark.parametrize("place", PLACES)
def test_tensors_are_found_in_every_place(place: str) -> None:
    """The same model with embedded data is accepted, so the external data is the cause."""
    inside = tensor((9, np.ones((3, 3), "<f4").tobytes()), (14, 0))
    refuse_external_data(PLACES[place](inside), "m.onnx")
    assert "external data for the tensor 'w'" in error_of(PLACES[place](tensor(entries("w.bin"), (14, 1))))


def test_onnxruntime_would_open_a_model_with_external_data() -> None:
    """Control: without the guard, onnxruntime opens the model."""
    content = PLACES["an initializer"](TRICKS["a relative path"]("victim.bin"))
    session = mock.patch.object(onnx.onnxruntime, "InferenceSession", side_effect=KeyboardInterrupt)
    with mock.patch.object(onnx, "refuse_external_data"), session, pytest.raises(KeyboardInterrupt):
        OnnxEncoder(content, "m.onnx", {})


def test_a_complete_model_with_subgraphs_is_accepted() -> None:
    inner = message([(1, node("Identity", ["f"], "h")), (2, "then"), (12, message([(1, "h")]))])
    branches = [message([(1, f"{name}_branch"), (6, inner), (20, 5)]) for name in ("then", "else")]
    truth = message([(2, 9), (8, "yes"), (9, b"\x01")])
    chosen = message([(1, "yes"), (2, "unused"), (4, "If"), (5, branches)])
    content = model([(5, truth), (1, chosen)])
    assert OnnxEncoder(content, "m.onnx", {}).width == 3


def test_the_name_of_a_tensor_is_printed_on_one_line() -> None:
    hostile = message([(8, "\x1b[2J\n" + "w" * 10_000), (14, 1)])
    error = error_of(model([(5, hostile)]))
    assert error.isprintable()
    assert "\\x1b[2J\\nwww" in error
    assert len(error) < 400


def test_depth_and_size_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nested deeper than 100" in error_of(model([(1, nested(60, 6, tensor()))]))
    monkeypatch.setattr(protobuf, "MAX_FIELDS", 50)
    assert "more than 50 fields" in error_of(model([(99, ["x"] * 60)]))
    assert "more than 50 fields" in error_of(model([(5, tensor((99, ["x"] * 60)))]))


@pytest.mark.parametrize(
    "cut", [b"\x3a", b"\x3a\xff", b"\x3a\x80\x80\x80\x80\x80\x01", b"\x3d\x01", b"\x39\x01", b"\x38", b"\x07"]
)
def test_a_malformed_protocol_buffer_is_rejected(cut: bytes) -> None:
    assert "damaged or other file: byte " in error_of(model([]) + cut)


def test_the_ort_format_is_rejected() -> None:
    assert "in the format of onnxruntime" in error_of(b"\x0a\x00\x00\x00ORTM" + message([(1, POOL)]))
