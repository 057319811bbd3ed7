"""ONNX models: features equal to NumPy's; invalid models are rejected."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import AVERAGE, NCHW, NHWC, PHOTO, PIXELS, POOL, SIDE, TWO, error_of, features, model
from PIL import Image
from thread_safety import check_thread_safety

from captioner.errors import DataError, UsageError
from captioner.images import onnx, open_encoder
from captioner.images.onnx import OnnxEncoder
from captioner.images.protobuf import node


@pytest.mark.parametrize(("nodes", "shape"), [(POOL, NCHW), (AVERAGE, NHWC)])
def test_pixels_are_standardized_in_the_layout_of_the_model(nodes: Any, shape: Any) -> None:
    mean, scale = np.array([100, 110.5, 120]), np.array([50, 60, -0.25])
    got = features(model(nodes, shape, metadata={}), mean="100/110.5/120", scale="50/60/-0.25")
    np.testing.assert_allclose(got, (PIXELS.mean(axis=(0, 1)) - mean) / scale, rtol=1e-5)


def test_rows_and_columns_are_not_swapped() -> None:
    for nodes, shape in (((node("Flatten", ["x"], "f"),), NCHW), (AVERAGE, NHWC)):
        assert OnnxEncoder(model(nodes, shape), "m.onnx", {}).prepare(PHOTO).shape == tuple(shape[1:])
    flat = features(model((node("Flatten", ["x"], "f"),), outputs={"f": ("N", 48)}))
    np.testing.assert_array_equal(flat, PIXELS.transpose(2, 0, 1).ravel())
    flat = features(model((node("Flatten", ["x"], "f"),), NHWC, outputs={"f": ("N", 48)}))
    np.testing.assert_array_equal(flat, PIXELS.ravel())


def test_one_number_applies_to_all_channels() -> None:
    one = features(model(metadata={}), mean="7", scale="9")
    np.testing.assert_array_equal(one, features(model(metadata={}), mean="7/7/7", scale="9/9/9"))


def test_images_of_a_batch_are_encoded_independently() -> None:
    rng = np.random.default_rng(1)
    for batch_size in ("N", 1):
        encoder = OnnxEncoder(model(shape=(batch_size, 3, SIDE, SIDE)), "m.onnx", {})
        batch = np.stack([encoder.prepare(Image.fromarray(p)) for p in rng.integers(0, 256, (5, 9, 7, 3), np.uint8)])
        alone = [encoder.encode(one[None])[0] for one in batch]
        np.testing.assert_array_equal(encoder.encode(batch), alone)


def test_a_model_of_a_user_has_no_regions() -> None:
    encoder = OnnxEncoder(model(outputs=TWO), "m.onnx", {"output": "f"})
    batch = [encoder.prepare(PHOTO)] * 2
    features, regions = encoder.encode_with_regions(batch)
    np.testing.assert_array_equal(features, encoder.encode(batch))
    assert regions is None
    assert encoder.regions is None


def test_an_encoder_is_thread_safe() -> None:
    encoder = OnnxEncoder(model(), "m.onnx", {})
    batch = encoder.prepare(PHOTO)[None]
    check_thread_safety(lambda: encoder.encode(batch), calls=50)


def half(content: bytes) -> bytes:
    """The same model with an input and output of float16."""
    return content.replace(b"\x08\x01\x12", b"\x08\x0a\x12")


def test_float16_models_get_float16() -> None:
    encoder = OnnxEncoder(half(model()), "m.onnx", {})
    assert encoder.prepare(PHOTO).dtype == np.float16
    np.testing.assert_allclose(features(half(model())), PIXELS.mean(axis=(0, 1)), rtol=1e-3)


def test_float16_overflow_is_reported() -> None:
    encoder = OnnxEncoder(half(model()), "m.onnx", {"scale": "1e-5"})
    with pytest.raises(DataError) as caught:
        encoder.encode(encoder.prepare(PHOTO)[None])
    assert str(caught.value) == "m.onnx: output f: a number is not finite; check mean and scale"


def test_a_vector_with_axes_of_one_is_a_vector() -> None:
    pooled = model(POOL[:1], outputs={"p": ("N", 3, 1, 1)})
    np.testing.assert_allclose(features(pooled), PIXELS.mean(axis=(0, 1)), rtol=1e-5)


def test_a_model_with_normalized_output_is_accepted() -> None:
    nodes = (*POOL, node("LpNormalization", ["f"], "n", axis=1))
    got = features(model(nodes, outputs={"n": ("N", 3)}))
    middle = PIXELS.mean(axis=(0, 1))
    np.testing.assert_allclose(got, middle / np.linalg.norm(middle), rtol=1e-5)


def test_the_output_must_be_finite_vectors() -> None:
    vector = "expected one vector per image, got "
    hint = "; choose a pooled output with the option output"
    maps = model((node("Identity", ["x"], "f"),), outputs={"f": NCHW})
    assert error_of(maps, DataError) == f"output f: {vector}(1, 3, 4, 4){hint}"
    number = model((node("ReduceMean", ["x"], "f", keepdims=0),), outputs={"f": ()})
    assert error_of(number, DataError) == f"output f: {vector}(){hint}"
    flat = model((node("ReduceMean", ["x"], "f", axes=[1, 2, 3], keepdims=0),), outputs={"f": ("N",)})
    assert error_of(flat, DataError) == f"output f: {vector}(1,){hint}"
    other = model((node("Flatten", ["x"], "f", axis=2),), outputs={"f": ("M", 16)})
    assert error_of(other, DataError) == f"output f: {vector}(3, 16){hint}"
    root = model((*POOL, node("Neg", ["f"], "n"), node("Sqrt", ["n"], "r")), outputs={"r": ("N", 3)})
    assert error_of(root, DataError) == "output r: a number is not finite; check mean and scale"


def test_an_empty_output_is_rejected() -> None:
    nodes = (
        *POOL,
        node("Cast", ["from"], "i", to=7),
        node("Cast", ["axis"], "j", to=7),
        node("Slice", ["f", "i", "i", "j"], "g"),
    )
    for axis, shape in ((0, (0, 3)), (1, (1, 0))):
        cut = model(nodes, outputs={"g": ("M", "k")}, weights={"from": np.zeros(1), "axis": np.full(1, axis)})
        assert error_of(cut, DataError).startswith(f"output g: expected one vector per image, got {shape};")


def test_the_output_must_be_floats() -> None:
    whole = model((*POOL, node("ArgMax", ["f"], "i", axis=1)), outputs={"i": ("N", 1)})
    whole = whole.replace(b"\x0a\x01i\x12\x0f\x0a\x0d\x08\x01", b"\x0a\x01i\x12\x0f\x0a\x0d\x08\x07")
    assert error_of(whole, DataError) == "expected an output of floats, got ['tensor(int64)']"


def test_a_failing_model_is_reported() -> None:
    fails = model((node("Reshape", ["x", "s"], "f"),), weights={"s": np.zeros(0)})
    assert error_of(fails, DataError).startswith(
        "expected an ONNX model, complete in this file, got one that onnxruntime rej"
    )
    sized = model(
        (node("MatMul", ["x", "w"], "f"),), ("N", 3, "h", "w"), {"f": ("a", "b", "c", "d")}, {"w": np.ones((5, 2))}
    )
    assert error_of(sized, DataError, size="4").startswith("the model fails: [ONNXRuntimeError]")


@pytest.mark.parametrize("content", [b"", b"hello", bytes(100), b"\x89PNG\r\n\x1a\n", b"\0\0\0\0ORTM"])
def test_other_files_are_rejected(content: bytes) -> None:
    assert error_of(content, DataError).startswith("expected an ONNX model, ")


def test_a_damaged_model_gives_vectors_or_a_one_line_error(capsys: pytest.CaptureFixture[str]) -> None:
    content, rng = model(weights={"unused": np.arange(4.0)}), np.random.default_rng(0)
    outcomes = {"vectors": 0, "rejected": 0}
    for turn in range(250):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] = rng.integers(256)
        if turn % 5 == 0:
            del damaged[rng.integers(len(content)) :]
        try:
            features(bytes(damaged))
            outcomes["vectors"] += 1
        except (DataError, UsageError) as problem:
            outcomes["rejected"] += str(problem).isprintable()
    assert sum(outcomes.values()) == 250
    assert min(outcomes.values()) > 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("text", [b"mean", b"\x01f", b"\x01x", b"Global"])
def test_names_that_are_not_utf8_are_rejected(text: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    content = model()
    assert text in content
    message = error_of(content.replace(text, text[:-1] + b"\xff"), DataError)
    assert message.startswith("expected an ONNX model")
    assert capsys.readouterr() == ("", "")


def test_only_regular_files_of_bounded_size_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.onnx"
    for plant, problem in (
        (lambda: None, "not found; expected an ONNX model; check the name"),
        (lambda: os.mkfifo(path), "expected a regular file, got a named pipe"),
    ):
        plant()
        with pytest.raises(DataError) as caught:
            open_encoder(f"onnx:{path}")
        assert str(caught.value) == f"{path}: {problem}"
    path.unlink()
    path.write_bytes(model())
    monkeypatch.setattr(onnx, "BYTES", 10)
    with pytest.raises(DataError, match="expected a file of at most 10 bytes"):
        open_encoder(f"onnx:{path}")
