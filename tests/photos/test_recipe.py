"""Recipes and identities of encoders: parsed, compared, or rejected with a one-line error."""

import pytest

from captioner.data.encoder_identity import SHORT_NAMES, Part, parse_identity, same_encoder, without_file_name
from captioner.data.scenes import ENCODER
from captioner.photos.recipes import open_encoder, parse_recipe

LITE0, LITE2 = "efficientnet-lite0", "efficientnet-lite2"
ONNX = "onnx:{},size=4,mean=1e+16,scale=-0.5,layout=nhwc,output=f,sha256=" + "0f" * 32
SETTINGS = {"size": "4", "mean": "1e+16", "scale": "-0.5", "layout": "nhwc", "output": "f"}

RECIPES: dict[str, list[tuple[str, str, dict[str, str]]]] = {
    LITE0: [(LITE0, "", {})],
    f"{LITE0}+{LITE0}:size=288+{LITE2}:size=64": [
        (LITE0, "", {}), (LITE0, "", {"size": "288"}), (LITE2, "", {"size": "64"})
    ],
    "onnx:": [("onnx", "", {})],
    "onnx:a.ONNX:size=8": [("onnx", "a.ONNX", {"size": "8"})],
    "onnx:C:\\my+net.v1.onnx:size=8+scenes": [("onnx", "C:\\my+net.v1.onnx", {"size": "8"}), ("scenes", "", {})],
    "onnx:a.onnx+onnx:./b:2.onnx:size=8": [("onnx", "a.onnx", {}), ("onnx", "./b:2.onnx", {"size": "8"})],
    "onnx:a.onnx.bak+b:size=8": [("onnx", "a.onnx.bak+b:size=8", {})],
    "onnx:a%2B.onnx:output=Identity%3A0%2Bx:mean=1/2/3": [
        ("onnx", "a%2B.onnx", {"output": "Identity:0+x", "mean": "1/2/3"})
    ],
    "scenes:x=a=b": [("scenes", "", {"x": "a=b"})],
}  # fmt: skip


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_parsed(recipe: str) -> None:
    parts = parse_recipe(recipe)
    assert parts == [Part(*part) for part in RECIPES[recipe]]
    assert parse_recipe("+".join(map(str, parts))) == parts


def test_a_short_name_is_a_recipe() -> None:
    parts = parse_recipe(SHORT_NAMES["richer"])
    assert parse_recipe("richer") == parts
    assert parse_recipe("scenes+richer+scenes") == [Part("scenes", "", {}), *parts, Part("scenes", "", {})]


IDENTITIES = {
    ENCODER: [("scenes", "", {})],
    "efficientnet-lite0-1": [(LITE0, "", {})],
    "efficientnet-lite2-1:size=288+efficientnet-lite0-1": [(LITE2, "", {"size": "288"}), (LITE0, "", {})],
    ONNX.format("b%2C%25%2B.onnx"): [("onnx", "b,%+.onnx", SETTINGS)],
    ONNX.format("c").replace("output=f", "output=caf%C3%A9"): [("onnx", "c", SETTINGS | {"output": "café"})],
    f"{ENCODER}+{ONNX.format('a:b.onnx')}+{ONNX.format('c')}": [
        ("scenes", "", {}), ("onnx", "a:b.onnx", SETTINGS), ("onnx", "c", SETTINGS)
    ],
}  # fmt: skip


@pytest.mark.parametrize("identity", IDENTITIES)
def test_an_identity_is_parsed(identity: str) -> None:
    assert parse_identity(identity) == [Part(*part) for part in IDENTITIES[identity]]


@pytest.mark.parametrize("recipe", ["scenes", "efficientnet-lite2:size=32+scenes"])
def test_the_parsed_identity_opens_the_same_encoder(recipe: str) -> None:
    identity = open_encoder(recipe).identity
    parts = parse_identity(identity)
    assert parts is not None
    assert open_encoder("+".join(map(str, parts))).identity == identity


@pytest.mark.parametrize(
    "identity",
    [
        "", "drawn", "scenes", "scenes-1 ", "scenes-1\n", "efficientnet-lite0", "vgg16_fc7", "scenes-1+", "+scenes-1",
        "scenes-1+drawn", "scenes-1:mirror", "efficientnet-lite0-1:size=8:size=8",
        "features:f.h5,sha256=" + "0f" * 32, "features:f+scenes-1,sha256=" + "0f" * 32,
        "onnx:a.onnx,size=4,mean=0,scale=1,layout=nchw,output=f,sha256=0f",
        "onnx:,size=4,mean=0,scale=1,layout=nchw,output=f,sha256=" + "0f" * 32,
        "onnx:a.onnx,size=4,mean=0,scale=1,layout=nchw,sha256=" + "0f" * 32,
    ],
)  # fmt: skip
def test_an_unknown_identity_is_none(identity: str) -> None:
    assert parse_identity(identity) is None


def test_file_names_do_not_distinguish_encoders() -> None:
    first, other = (f"scenes-1+{ONNX.format(name)}+{ONNX.format(name * 2)}" for name in ("a.onnx", "b.onnx"))
    assert same_encoder(first, other)
    assert not same_encoder(first, other.replace("nhwc", "nchw"))
    assert not same_encoder("scenes-1+efficientnet-lite0-1", "efficientnet-lite0-1+scenes-1")
    assert same_encoder("features:a+onnx:b,sha256=0f", "features:c,sha256=0f")
    assert without_file_name("efficientnet-lite0-1:size=8") == "efficientnet-lite0-1:size=8"
