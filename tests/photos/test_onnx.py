"""ONNX models: features equal to NumPy's, settings and identity, no telemetry; invalid models are rejected."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, external_data_helper
from onnx_models import (
    AVERAGE,
    NCHW,
    NHWC,
    PHOTO,
    PIXELS,
    PLAIN,
    POOL,
    SIDE,
    TWO,
    error_of,
    features,
    model,
    node,
    proto,
)

from captioner.data.encoder_identity import Recipe, parse_identity
from captioner.errors import DataError, UsageError
from captioner.photos.onnx import OnnxEncoder
from captioner.photos.recipes import open_encoder, open_recipe


@pytest.mark.parametrize(("nodes", "shape"), [(POOL, NCHW), (AVERAGE, NHWC)])
def test_pixels_are_standardized_in_the_layout_of_the_model(nodes: Any, shape: Any) -> None:
    mean, scale = np.array([100, 110.5, 120]), np.array([50, 60, -0.25])
    got = features(model(nodes, shape), mean="100/110.5/120", scale="50/60/-0.25")
    np.testing.assert_allclose(got, (PIXELS.mean(axis=(0, 1)) - mean) / scale, rtol=1e-5)


def test_rows_and_columns_are_not_swapped() -> None:
    flat = features(model((node("Flatten", ["x"], "f"),), outputs={"f": ("N", 48)}))
    np.testing.assert_array_equal(flat, PIXELS.transpose(2, 0, 1).ravel())
    flat = features(model((node("Flatten", ["x"], "f"),), NHWC, outputs={"f": ("N", 48)}))
    np.testing.assert_array_equal(flat, PIXELS.ravel())


def test_float16_models_get_float16() -> None:
    half = model(kinds=(TensorProto.FLOAT16, TensorProto.FLOAT16))
    assert OnnxEncoder(half, "m.onnx", PLAIN).prepare(PHOTO).dtype == np.float16
    np.testing.assert_allclose(features(half), PIXELS.mean(axis=(0, 1)), rtol=1e-3)


def test_a_vector_with_axes_of_one_is_a_vector() -> None:
    pooled = model(POOL[:1], outputs={"p": ("N", 3, 1, 1)})
    np.testing.assert_allclose(features(pooled), PIXELS.mean(axis=(0, 1)), rtol=1e-5)


def test_the_output_regions_is_the_grid() -> None:
    def opened(regions: Any, shape: Any, kind: int = TensorProto.FLOAT, **options: str) -> OnnxEncoder:
        made = proto((*POOL, regions), outputs={"f": ("N", 3), "regions": shape}, weights={"zero": 0})
        made.graph.output[1].type.tensor_type.elem_type = kind
        return OnnxEncoder(made.SerializeToString(), "m.onnx", {**PLAIN, **options})

    same = node("Identity", ["x"], "regions")
    half = node("Cast", ["x"], "regions", to=TensorProto.FLOAT16)
    for regions, kind in ((same, TensorProto.FLOAT), (half, TensorProto.FLOAT16)):
        encoder = opened(regions, NCHW, kind)
        assert encoder.regions == (SIDE, SIDE, 3)
        _, grid = encoder.encode(encoder.prepare(PHOTO))
        assert grid is not None
        assert grid.dtype == np.float32
        np.testing.assert_allclose(grid, PIXELS, rtol=1e-3)
    integers = node("Cast", ["x"], "regions", to=TensorProto.INT64)
    assert opened(integers, NCHW, TensorProto.INT64).regions is None
    assert opened(node("Identity", ["f"], "regions"), ("N", 3), output="f").regions is None
    with pytest.raises(DataError, match="output regions: expected one grid per image, got"):
        opened(node("Concat", ["x", "x"], "regions", axis=0), NCHW)
    with pytest.raises(DataError, match="output regions: a number is not finite"):
        opened(node("Div", ["x", "zero"], "regions"), NCHW)


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


def test_a_width_that_changes_with_the_image_is_rejected() -> None:
    nodes = (
        node("Flatten", ["x"], "flat"),
        node("Cast", ["all"], "shape", to=TensorProto.INT64),
        node("Reshape", ["flat", "shape"], "values"),
        node("Less", ["values", "limit"], "is_small"),
        node("Compress", ["flat", "is_small"], "f", axis=1),
    )
    varies = model(nodes, outputs={"f": ("N", "k")}, weights={"all": np.full(1, -1), "limit": np.full(1, 100)})
    encoder = OnnxEncoder(varies, "m.onnx", PLAIN)
    with pytest.raises(DataError, match="expected outputs of the same shapes for every image"):
        encoder.encode(encoder.prepare(PHOTO))


def test_the_output_must_be_floats() -> None:
    nodes, kinds = (*POOL, node("ArgMax", ["f"], "i", axis=1)), (TensorProto.FLOAT, TensorProto.INT64)
    whole = model(nodes, outputs={"i": ("N", 1)}, kinds=kinds)
    assert (
        error_of(whole, DataError) == "expected an output of floats, a vector, besides regions, got ['tensor(int64)']"
    )


def test_a_failing_model_is_reported() -> None:
    fails = model((node("Reshape", ["x", "s"], "f"),), weights={"s": np.zeros(0)})
    assert error_of(fails, DataError).startswith(
        "expected an ONNX model with all weights in this file, got one that onnxruntime rej"
    )
    sized = model(
        (node("MatMul", ["x", "w"], "f"),), ("N", 3, "h", "w"), {"f": ("a", "b", "c", "d")}, {"w": np.ones((5, 2))}
    )
    assert error_of(sized, DataError, size="4").startswith("the model fails: [ONNXRuntimeError]")


@pytest.mark.parametrize("content", [b"", b"hello", b"\0\0\0\0ORTM", model().replace(b"\x0a\x01f", b"\x0a\x01\xff")])
def test_other_files_are_rejected(content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    assert error_of(content, DataError).startswith("expected an ONNX model")
    assert capsys.readouterr() == ("", "")


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


LOCATIONS = {
    "a relative path": "w.bin",
    "an absolute path": "{folder}/w.bin",
    "a path out of a folder": "../../../../../../../..{folder}/w.bin",
    "an address in memory": "*/_ORT_MEM_ADDR_/*",
}


@pytest.mark.parametrize("location", LOCATIONS.values(), ids=LOCATIONS)
def test_weights_outside_of_the_file_are_rejected(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest in the identity would not cover them."""
    monkeypatch.chdir(tmp_path)
    weights = np.eye(3, dtype="<f4")
    Path("w.bin").write_bytes(weights.tobytes())
    nodes = (*POOL, node("MatMul", ["f", "w"], "g"))
    content = model(nodes, outputs={"g": ("N", 3)}, weights={"w": weights})
    assert features(content).shape == (3,)
    outside = proto(nodes, outputs={"g": ("N", 3)}, weights={"w": weights})
    external_data_helper.set_external_data(outside.graph.initializer[0], location.format(folder=tmp_path), 0, 36)
    outside.graph.initializer[0].ClearField("raw_data")
    error = error_of(outside.SerializeToString(), DataError)
    assert error.startswith("expected an ONNX model with all weights in this file, got one that onnxruntime rejects")


def test_options_complete_shapes() -> None:
    encoder = OnnxEncoder(model(shape=("N", 3, "h", "w")), "m.onnx", {"size": "05", "mean": "1", "scale": "4.50"})
    assert encoder.identity.startswith("onnx:m.onnx,size=5,mean=1,scale=4.5,layout=nchw,output=f,")
    assert (encoder.side, encoder.prepare(PHOTO).shape) == (5, (3, 5, 5))
    assert OnnxEncoder(model(), "m.onnx", PLAIN).side == SIDE


def test_one_of_several_outputs_is_chosen_by_name() -> None:
    assert features(model(outputs=TWO), output="f").shape == (3,)
    assert "output=p," in OnnxEncoder(model(outputs=TWO), "m.onnx", {**PLAIN, "output": "p"}).identity


def test_the_identity_covers_everything_that_affects_features() -> None:
    wide = model(shape=("N", "c", "h", "w"), outputs=TWO)
    plain = {"size": "4", "mean": "0", "scale": "1", "layout": "nchw", "output": "f"}
    variants = [
        {}, {"size": "5"}, {"mean": "1"}, {"mean": "0/0/1"}, {"mean": "0.1234567"}, {"mean": "0.1234568"},
        {"mean": "123456789"}, {"mean": "123456788"}, {"scale": "2"}, {"scale": "1.0000001"}, {"output": "p"},
        {"layout": "nhwc"},
    ]  # fmt: skip
    encoders = [OnnxEncoder(wide, "m.onnx", {**plain, **variant}) for variant in variants]
    wider = model(shape=("N", "c", "h", "w"), outputs=TWO, weights={"unused": np.zeros(1)})
    encoders.append(OnnxEncoder(wider, "m.onnx", plain))
    encoders.append(OnnxEncoder(wide, "n.onnx", plain))
    assert len({encoder.identity for encoder in encoders}) == len(encoders)


NAMES = st.text(min_size=1, max_size=12).filter(lambda text: "/" not in text and "\0" not in text)


@given(
    name=NAMES | st.sampled_from(["a,size=9,mean=1,scale=1,layout=nchw,output=b", "%2C", "x:y", "a b.onnx", "café"]),
    output=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
    | st.sampled_from(
        ["f,g", "f,size=1,mean=0,scale=1,layout=nhwc,output=g", "%25", "a=b", "/pool/Flatten_output_0:0"]
    ),
    mean=st.floats(-1e3, 1e3),
    scale=st.floats(1e-3, 1e3),
)
def test_an_identity_opens_the_same_encoder(
    tmp_path_factory: pytest.TempPathFactory, name: str, output: str, mean: float, scale: float
) -> None:
    path = tmp_path_factory.getbasetemp() / os.fsdecode(name.encode("utf-8", "replace")).strip(".")
    if path == tmp_path_factory.getbasetemp() or path.is_dir() or output in ("x", "p"):
        return
    path.write_bytes(model((POOL[0], node("Flatten", ["p"], output)), outputs={output: ("N", 3)}))
    encoder = open_recipe(Recipe("onnx", str(path), {"mean": repr(mean), "scale": f"{scale!r}/1/2"}))
    known = parse_identity(encoder.identity)
    assert known is not None
    assert encoder.identity.isprintable()
    assert encoder.identity.isascii()
    assert (known.name, known.file) == ("onnx", path.name)
    assert known.options["output"] == output
    assert float(known.options["mean"]) == mean
    assert open_recipe(known._replace(file=str(path))).identity == encoder.identity


def test_a_file_name_that_is_not_utf8_has_an_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"caf\xe9\n.onnx")
    Path(name).write_bytes(model())
    encoder = open_encoder(f"onnx:{name}:mean=0:scale=1")
    assert encoder.identity.startswith("onnx:caf%E9%0A.onnx,size=4,")
    known = parse_identity(encoder.identity)
    assert known is not None
    assert known.file == name
    assert open_recipe(known).identity == encoder.identity


ENCODE = """
from PIL import Image
from captioner.photos.recipes import open_encoder
encoder = open_encoder("everyday")
assert encoder.encode(encoder.prepare(Image.new("RGB", (300, 300))))[0].shape == (1280,)
"""
SUPPRESSED = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY")
"""Variables for which onnxruntime itself has no telemetry."""


@pytest.mark.slow
def test_encoding_writes_nothing_to_the_home_folder(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in SUPPRESSED}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", ENCODE], env=environment, check=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
