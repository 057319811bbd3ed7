"""Settings of an ONNX model from options, metadata or shapes, and its identity."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_models import NCHW, PHOTO, PLAIN, POOL, SIDE, TWO, error_of, features, model

from captioner.errors import DataError
from captioner.images import onnx, open_encoder, open_parts, protobuf
from captioner.images.onnx import OnnxEncoder
from captioner.images.protobuf import node, value_info
from captioner.images.recipe import parse_identity
from captioner.printable import printable


def test_options_override_metadata_and_metadata_override_shapes() -> None:
    free = ("N", 3, "h", "w")
    content = model(shape=free, metadata={"size": "6", "mean": "1", "scale": "2", "layout": "nchw", "author": "a"})
    assert OnnxEncoder(content, "m.onnx", {}).identity.startswith(
        "onnx:m.onnx,size=6,mean=1,scale=2,layout=nchw,output=f,"
    )
    given = OnnxEncoder(content, "m.onnx", {"size": "05", "scale": "4.50"})
    assert given.identity.startswith("onnx:m.onnx,size=5,mean=1,scale=4.5,layout=nchw,output=f,")
    assert given.side == 5
    assert given.prepare(PHOTO).shape == (3, 5, 5)
    assert OnnxEncoder(model(), "m.onnx", {}).side == SIDE


def test_one_of_several_outputs_is_chosen_by_name() -> None:
    expected = "output: expected p or f, got "
    assert error_of(model(outputs=TWO)) == f"{expected}nothing; use --encoder-option output=p"
    assert error_of(model(outputs=TWO), output="q\nr") == f"{expected}q r; use --encoder-option output=p"
    assert error_of(model(), output="p") == "output: expected f, got p; use --encoder-option output=f"
    assert features(model(outputs=TWO), output="f").shape == (3,)
    assert "output=p," in OnnxEncoder(model(outputs=TWO, metadata={**PLAIN, "output": "p"}), "m.onnx", {}).identity


@pytest.mark.parametrize("key", ["mean", "scale"])
def test_mean_and_scale_are_never_guessed(key: str) -> None:
    expected = f"{key}: expected one number, or three separated by /, in units of pixels (0 to 255), got "
    more = f"; for torchvision models use {onnx.IMAGENET} with --encoder-option"
    others = {name: text for name, text in PLAIN.items() if name != key}
    assert error_of(model(metadata=others)) == f"{expected}nothing{more}"
    for text in ("", "1/2", "1/2/3/4", "a", "1,2,3", "nan", "inf", "1e39", "1//2", "[0.1\n0.2]"):
        printed = " ".join(text.split())
        assert error_of(model(), **{key: text}) == f"{expected}{printed}{more}"
        assert error_of(model(metadata={**PLAIN, key: text})) == f"{expected}{printed}{more}"


def test_a_scale_of_zero_is_rejected() -> None:
    for text in ("0", "1/0/1", "-0.0", "1e-60"):
        assert error_of(model(), scale=text) == f"scale: expected numbers other than 0, got {text}"


def test_the_size_must_fit_the_model() -> None:
    free = model(shape=("N", 3, "h", "w"))
    expected = "size: expected the pixels of a side (1 to 4096), got "
    for text in ("", "0", "-4", "4097", "4.5", "4x4", "٤", "9" * 5000):
        assert error_of(free, size=text) == f"{expected}{printable(text, 160)}; use --encoder-option size=224"
    assert error_of(free) == f"{expected}nothing; use --encoder-option size=224"
    assert error_of(model(), size="5") == "size: expected 4 x 4 as in the model, a square, got 5"
    wide = model(shape=("N", 3, 4, 6))
    assert error_of(wide) == "size: expected 4 x 6 as in the model, a square, got 4"


def test_the_layout_is_detected_or_required() -> None:
    expected = "layout: expected nchw or nhwc, got "
    free = model(shape=("N", "c", 4, 4))
    assert error_of(free) == f"{expected}nothing; use --encoder-option layout=nchw"
    assert error_of(model(), layout="chw") == f"{expected}chw; use --encoder-option layout=nchw"
    assert features(free, layout="nchw").shape == (3,)


def test_an_unknown_option_is_rejected_with_the_available_ones() -> None:
    expected = "unknown; expected size, mean, scale, layout, output, mirror"
    assert error_of(model(), means="1") == f"option means: {expected}"


def test_the_input_must_be_one_batch_of_images() -> None:
    expected = "expected one input of floats (images, channels, height, width), got "
    assert error_of(model(shape=("N", 3)), DataError) == f"{expected}x tensor(float) ['N', 3]"
    inputs = [value_info(name, NCHW) for name in "xy"]
    two = protobuf.model([node("Add", ["x", "y"], "f")], {}, inputs, [value_info("f", NCHW)], PLAIN)
    assert error_of(two, DataError).startswith(f"{expected}x tensor(float) ['N', 3, 4, 4]; y tensor(float)")
    none = protobuf.model([node("Identity", ["w"], "f")], {"w": np.zeros(3)}, [], [value_info("f", (3,))], PLAIN)
    assert error_of(none, DataError) == f"{expected}none"
    four = "expected an input batch size of 1 or any, got 4"
    assert error_of(model(shape=(4, 3, 4, 4)), DataError) == four


def test_the_identity_covers_everything_that_affects_features() -> None:
    wide = model(shape=("N", "c", "h", "w"), outputs=TWO)
    plain = {"size": "4", "mean": "0", "scale": "1", "layout": "nchw", "output": "f"}
    variants = [
        {}, {"size": "5"}, {"mean": "1"}, {"mean": "0/0/1"}, {"mean": "0.1234567"}, {"mean": "0.1234568"},
        {"mean": "123456789"}, {"mean": "123456788"}, {"scale": "2"}, {"scale": "1.0000001"}, {"output": "p"},
        {"layout": "nhwc"},
    ]  # fmt: skip
    found = {OnnxEncoder(wide, "m.onnx", {**plain, **variant}).identity for variant in variants}
    found.add(OnnxEncoder(model(shape=("N", "c", "h", "w"), outputs=TWO, metadata={}), "m.onnx", plain).identity)
    found.add(OnnxEncoder(wide, "n.onnx", plain).identity)
    assert len(found) == len(variants) + 2


NAMES = st.text(min_size=1, max_size=12).filter(lambda text: "/" not in text and "\0" not in text)


@settings(max_examples=40, deadline=None)
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
    path.write_bytes(model((POOL[0], node("Flatten", ["p"], output)), outputs={output: ("N", 3)}, metadata={}))
    encoder = open_encoder(f"onnx:{path}", {"mean": repr(mean), "scale": f"{scale!r}/1/2"})
    known = parse_identity(encoder.identity)
    assert known is not None
    assert encoder.identity.isprintable()
    assert encoder.identity.isascii()
    (part,) = known
    assert (part.name, part.file) == ("onnx", path.name)
    assert part.options["output"] == output
    assert float(part.options["mean"]) == mean
    assert open_parts([part._replace(file=str(path))]).identity == encoder.identity


def test_a_file_name_that_is_not_utf8_has_an_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"caf\xe9\n.onnx")
    Path(name).write_bytes(model())
    encoder = open_encoder(f"onnx:{name}")
    assert encoder.identity.startswith("onnx:caf%E9%0A.onnx,size=4,")
    known = parse_identity(encoder.identity)
    assert known is not None
    assert known[0].file == name
    assert open_parts(known).identity == encoder.identity
