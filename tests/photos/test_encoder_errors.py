"""The messages of errors: recipes, options of encoders, and ONNX models with other options or shapes."""

from pathlib import Path

import numpy as np
import pytest
from onnx_models import NCHW, POOL, TWO, error_of, model, node
from photographs import corners, encoded

from captioner.errors import DataError, UsageError, printable
from captioner.photos import encoders
from captioner.photos.onnx import IMAGENET
from captioner.photos.recipes import open_encoder

KNOWN = "expected everyday, onnx:FILE, scenes, got"
RECIPES = {
    "": f"encoder : {KNOWN} nothing",
    "vgg16:x": f"encoder vgg16:x: {KNOWN} vgg16",
    "scenes:size=64": "encoder scenes: option size: unknown; expected no options",
    "everyday:size=64:mean=0": "encoder everyday: option mean: unknown; expected no options",
    "onnx:": "encoder onnx: expected onnx:FILE, got no file",
    "everyday:size=32:size=64": "encoder everyday:size=32:size=64: option size: expected at most one, got several",
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_rejected(recipe: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_encoder(recipe)
    assert str(caught.value) == RECIPES[recipe]


def test_a_photograph_that_does_not_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(encoded(corners()))
    monkeypatch.setattr(encoders.ScenesEncoder, "encode", lambda *_: [0] * (1 << 61))
    (error,) = encoders.encode_photos(open_encoder("scenes"), [tmp_path / "a.png"])
    assert str(error) == f"{tmp_path}/a.png: not enough memory to encode this photograph"


FREE = model(shape=("N", 3, "h", "w"))
TORCHVISION = f"for torchvision models use --encoder {IMAGENET}"
MEAN = f"expected one number, or three separated by /, in units of pixels (0 to 255), got {{}}; {TORCHVISION}"
SIDE = "size: expected the pixels of a side (1 to 4096), got {}; use --encoder onnx:FILE:size=224"
OPTIONS: list[tuple[bytes, dict[str, str], str]] = [
    (model(), {"means": "1"}, "option means: unknown; expected size, mean, scale, layout, output"),
    *((model(), {"scale": text}, f"scale: expected numbers other than 0, got {text}")
      for text in ("1/0/1", "1e-60")),
    *((FREE, {"size": text}, SIDE.format(printable(text, 160)))
      for text in ("0", "4097", "4.5", "\u0664", "9" * 5000)),
    (FREE, {}, SIDE.format("nothing")),
    (model(), {"size": "5"}, "size: expected 4 x 4 as in the model, a square, got 5"),
    (model(shape=("N", "c", 4, 4)), {},
     "layout: expected nchw or nhwc, got nothing; use --encoder onnx:FILE:layout=nchw"),
    (model(), {"layout": "chw"}, "layout: expected nchw or nhwc, got chw; use --encoder onnx:FILE:layout=nchw"),
    (model(outputs=TWO), {}, "output: expected p or f, got nothing; use --encoder onnx:FILE:output=p"),
    (model((POOL[0], node("Flatten", ["p"], "f:0")), outputs={"f:0": ("N", 3)}), {"output": "f"},
     "output: expected f:0, got f; use --encoder onnx:FILE:output=f%3A0"),
    *((model(), {"mean": text}, f"mean: {MEAN.format(' '.join(text.split()))}")
      for text in ("", "1/2", "1,2,3", "nan", "1e39", "[0.1\n0.2]")),
]  # fmt: skip


@pytest.mark.parametrize(("content", "options", "message"), OPTIONS, ids=range(len(OPTIONS)))
def test_options_of_an_onnx_model_are_rejected(content: bytes, options: dict[str, str], message: str) -> None:
    assert error_of(content, **options) == message


INPUT = "expected one input of floats (images, channels, height, width), got "
VECTOR = "output f: expected one vector per image, got {}; choose a pooled output with the option output"
MODELS: dict[str, bytes] = {
    f"{INPUT}x tensor(float) ['N', 3]": model(shape=("N", 3)),
    f"{INPUT}x tensor(float) ['N', 3, 4, 4]; y tensor(float) ['N', 3, 4, 4]":
        model((node("Add", ["x", "y"], "f"),), outputs={"f": NCHW}, inputs=("x", "y")),
    f"{INPUT}none":
        model((node("Identity", ["w"], "f"),), outputs={"f": (3,)}, weights={"w": np.zeros(3)}, inputs=()),
    "expected an input batch size of 1 or any, got 4": model(shape=(4, 3, 4, 4)),
    VECTOR.format("(1, 3, 4, 4)"): model((node("Identity", ["x"], "f"),), outputs={"f": NCHW}),
    VECTOR.format("()"): model((node("ReduceMean", ["x"], "f", keepdims=0),), outputs={"f": ()}),
    VECTOR.format("(3, 16)"): model((node("Flatten", ["x"], "f", axis=2),), outputs={"f": ("M", 16)}),
    "output r: a number is not finite; check mean and scale":
        model((*POOL, node("Neg", ["f"], "n"), node("Sqrt", ["n"], "r")), outputs={"r": ("N", 3)}),
}  # fmt: skip


@pytest.mark.parametrize("message", MODELS)
def test_models_of_other_inputs_or_outputs_are_rejected(message: str) -> None:
    assert error_of(MODELS[message], DataError) == message
