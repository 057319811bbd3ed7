"""Recipes and identities of encoders: parsed, compared, or rejected with a one-line error."""

import pytest

from captioner.data.encoder_identity import Recipe, parse_identity, same_encoder, without_file_name
from captioner.data.scenes import ENCODER
from captioner.photos.recipes import open_encoder, open_recipe, parse_recipe

DIGEST = "sha256=" + "0f" * 32
ONNX = "onnx:{},size=4,mean=1e+16,scale=-0.5,layout=nhwc,output=f," + DIGEST
SETTINGS = {"size": "4", "mean": "1e+16", "scale": "-0.5", "layout": "nhwc", "output": "f"}

RECIPES = {
    "everyday": Recipe("everyday", "", {}),
    "onnx:": Recipe("onnx", "", {}),
    "onnx:a.ONNX:size=8": Recipe("onnx", "a.ONNX", {"size": "8"}),
    "onnx:C:\\my+net.v1.onnx:size=8": Recipe("onnx", "C:\\my+net.v1.onnx", {"size": "8"}),
    "onnx:./b:2.onnx:size=8": Recipe("onnx", "./b:2.onnx", {"size": "8"}),
    "onnx:a.onnx.bak+b:size=8": Recipe("onnx", "a.onnx.bak+b:size=8", {}),
    "onnx:a%2B.onnx:output=Identity%3A0%2Bx:mean=1/2/3": Recipe(
        "onnx", "a%2B.onnx", {"output": "Identity:0+x", "mean": "1/2/3"}
    ),
    "scenes:x=a=b": Recipe("scenes", "", {"x": "a=b"}),
}


@pytest.mark.parametrize("text", RECIPES)
def test_a_recipe_is_parsed(text: str) -> None:
    recipe = parse_recipe(text)
    assert recipe == RECIPES[text]
    assert parse_recipe(str(recipe)) == recipe


IDENTITIES = {
    ENCODER: Recipe("scenes", "", {}),
    f"everyday,{DIGEST}": Recipe("everyday", "", {}),
    ONNX.format("b%2C%25%2B.onnx"): Recipe("onnx", "b,%+.onnx", SETTINGS),
    ONNX.format("c").replace("output=f", "output=caf%C3%A9"): Recipe("onnx", "c", SETTINGS | {"output": "café"}),
}


@pytest.mark.parametrize("identity", IDENTITIES)
def test_an_identity_is_parsed(identity: str) -> None:
    assert parse_identity(identity) == IDENTITIES[identity]


@pytest.mark.parametrize("name", ["scenes", "everyday"])
def test_the_parsed_identity_opens_the_same_encoder(name: str) -> None:
    identity = open_encoder(name).identity
    recipe = parse_identity(identity)
    assert recipe is not None
    assert open_recipe(recipe).identity == identity


@pytest.mark.parametrize(
    "identity",
    [
        "", "drawn", "scenes", "scenes-1 ", "scenes-1\n", "everyday", "vgg16_fc7", "scenes-1:mirror",
        f"everyday,{DIGEST}0", f"features:f.h5,{DIGEST}", f"everyday,{DIGEST}+scenes-1",
        "onnx:a.onnx,size=4,mean=0,scale=1,layout=nchw,output=f,sha256=0f",
        f"onnx:,size=4,mean=0,scale=1,layout=nchw,output=f,{DIGEST}",
        f"onnx:a.onnx,size=4,mean=0,scale=1,layout=nchw,{DIGEST}",
    ],
)  # fmt: skip
def test_an_unknown_identity_is_none(identity: str) -> None:
    assert parse_identity(identity) is None


def test_file_names_do_not_distinguish_encoders() -> None:
    first, other = (ONNX.format(name) for name in ("a.onnx", "b.onnx"))
    assert same_encoder(first, other)
    assert not same_encoder(first, other.replace("nhwc", "nchw"))
    assert not same_encoder("scenes-1", f"everyday,{DIGEST}")
    assert same_encoder("features:a,sha256=0f", "features:c,sha256=0f")
    assert without_file_name(f"everyday,{DIGEST}") == f"everyday,{DIGEST}"
