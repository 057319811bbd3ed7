"""The messages of errors: recipes, options of encoders, and ONNX models with other options or shapes."""

from pathlib import Path

import numpy as np
import pytest
from onnx_models import NCHW, POOL, TWO, error_of, model
from photographs import corners, encoded

from captioner.data.encoder_identity import SHORT_NAMES
from captioner.errors import DataError, UsageError, printable
from captioner.photos import encoders, protobuf
from captioner.photos.onnx import IMAGENET
from captioner.photos.protobuf import node, value_info
from captioner.photos.recipes import MAX_PARTS, open_encoder

LITE0, LITE2 = "efficientnet-lite0", "efficientnet-lite2"
KNOWN = "expected scenes, efficientnet-lite0, efficientnet-lite2, onnx:FILE, richer, got vgg16"
EMPTY = "expected an encoder before and after each +, got nothing"
OTHERS = "unknown; expected size; use onnx:FILE for other models"
RECIPES: list[tuple[str, str]] = [
    ("vgg16", f"encoder vgg16: {KNOWN}"),
    ("scenes+vgg16:x", f"encoder vgg16:x: {KNOWN}"),
    ("scenes:size=64", "encoder scenes: option size: unknown; expected no options"),
    (f"{LITE2}:size=64:mean=0", f"encoder {LITE2}: option mean: {OTHERS}"),
    ("onnx:", "encoder onnx: expected onnx:FILE, got no file"),
    ("+".join(["scenes"] * (MAX_PARTS + 1)), "encoder: expected at most 16 encoders joined by +, got 17"),
    *((recipe, f"encoder {recipe}: {EMPTY}")
      for recipe in ("", "scenes++scenes", "+scenes", "onnx:a.onnx++b", "richer+")),
    (f"scenes+{LITE0}:size=32:size=64",
     f"encoder {LITE0}:size=32:size=64: option size: expected at most one, got several"),
    ("scenes+richer:size=64",
     f"encoder richer:size=64: expected no options, as it is short for {SHORT_NAMES['richer']}"),
    *((f"{LITE0}:size={size}",
       f"encoder {LITE0}: size: expected the pixels of a side (32 to 1,024), got {size or 'nothing'}; "
       "the default is 224")
      for size in ("", "big", "31", "1025", "64.0", "9" * 30)),
]  # fmt: skip


@pytest.mark.parametrize(("recipe", "message"), RECIPES)
def test_a_recipe_is_rejected(recipe: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_encoder(recipe)
    assert str(caught.value) == message
    assert message.isprintable()


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
BOTH = [value_info(name, NCHW) for name in "xy"]
MODELS: dict[str, bytes] = {
    f"{INPUT}x tensor(float) ['N', 3]": model(shape=("N", 3)),
    f"{INPUT}x tensor(float) ['N', 3, 4, 4]; y tensor(float) ['N', 3, 4, 4]":
        protobuf.model([node("Add", ["x", "y"], "f")], {}, BOTH, [value_info("f", NCHW)]),
    f"{INPUT}none":
        protobuf.model([node("Identity", ["w"], "f")], {"w": np.zeros(3)}, [], [value_info("f", (3,))]),
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
