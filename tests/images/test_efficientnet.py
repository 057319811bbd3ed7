"""EfficientNet-Lite0: verified weights, and a graph equal to a NumPy implementation."""

import importlib.util
import io
import json
import os
import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from captioner.errors import DataError, UsageError
from captioner.extras import install_command
from captioner.images import efficientnet, open_encoder, parse_identity
from captioner.images.efficientnet import IDENTITY, PACKAGE, SIDE, parse_weights, read_weights, weights_file
from captioner.images.photo import read_photo, square

FLICKR8K = Path(__file__).parents[2] / "../shared/data/flickr8k"
BLOCKS = (
    # repeats, kernel, first stride, expansion, channels: the table of EfficientNet-B0 (and -Lite0)
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip


@pytest.fixture(scope="module")
def weights() -> Any:
    return read_weights(weights_file())


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


def plain_forward(x: Any, weights: Any) -> Any:
    """The network of the paper with separate batch normalization. Shapes: (3, 224, 224) -> (1280,), (49, 320)."""

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
    for repeats, size, stride, expansion, channels in BLOCKS:
        for turn in range(repeats):
            name, before, wide = f"_blocks.{number}", x, len(x) * expansion
            if expansion > 1:
                x = layer(x, f"{name}._expand_conv", f"{name}._bn0", (wide, len(x), 1, 1))
            x = layer(x, f"{name}._depthwise_conv", f"{name}._bn1", (wide, 1, size, size), 1 if turn else stride)
            x = layer(x, f"{name}._project_conv", f"{name}._bn2", (channels, wide, 1, 1), clip=False)
            x = x + before if turn else x
            number += 1
    return layer(x, "_conv_head", "_bn1", (1280, 320, 1, 1)).mean(axis=(1, 2)), x.reshape(320, 49).T


@pytest.mark.smoke
def test_the_graph_equals_a_numpy_implementation(encoder: Any, weights: Any) -> None:
    pixels = smooth(1)[0]
    batch = pixels.transpose(2, 0, 1)[None].astype(np.float32) / 128 - np.float32(127 / 128)
    (features,), (regions,) = encoder.encode_with_regions(batch)
    for got, expected in zip((features, regions), plain_forward(batch[0], weights), strict=True):
        assert expected.std() > 0.1
        np.testing.assert_allclose(got, expected, atol=1e-3 * np.abs(expected).max())
    assert encoder.regions == (7, 7, 320)
    np.testing.assert_array_equal(encoder.encode(batch)[0], features)


def test_identity(encoder: Any) -> None:
    assert (encoder.identity, encoder.width, encoder.side) == (IDENTITY, 1280, 224)
    assert parse_identity(IDENTITY) == ("efficientnet-lite0", {})


def test_preprocessing_crops_and_scales(encoder: Any, tmp_path: Path) -> None:
    from PIL import Image

    photo = Image.fromarray(smooth(1)[0]).resize((400, 300))
    expected = (np.asarray(square(photo, SIDE), np.float32).transpose(2, 0, 1) - 127) / 128
    np.testing.assert_allclose(encoder.prepare(photo), expected, rtol=1e-6)


def test_images_of_a_batch_are_encoded_independently(encoder: Any) -> None:
    batch = np.stack([(x.transpose(2, 0, 1).astype(np.float32) - 127) / 128 for x in smooth(3)])
    together = encoder.encode(batch)
    assert together.shape == (3, 1280)
    np.testing.assert_array_equal(together, [encoder.encode(one[None])[0] for one in batch])
    assert np.abs(together[0] - together[1]).max() > 0.1


@pytest.mark.skipif(not (FLICKR8K / "features.h5").is_file(), reason="the data set is not here")
def test_features_of_flickr8k_equal_the_published_ones(encoder: Any) -> None:
    images = json.loads((FLICKR8K / "dataset_flickr8k.json").read_text())["images"]
    found = [one for one in images if (FLICKR8K / "photos" / one["filename"]).is_file()]
    chosen = found[:: max(len(found) // 6, 1)][:6]
    assert len(chosen) == 6
    with h5py.File(FLICKR8K / "features.h5") as file:
        expected = [file["features"][one["imgid"]].astype(np.float64) for one in chosen]
    for one, theirs in zip(chosen, expected, strict=True):
        ours = encoder.encode(encoder.prepare(read_photo(FLICKR8K / "photos" / one["filename"], SIDE))[None])[0]
        assert np.linalg.norm(ours - theirs) < 1e-2 * np.linalg.norm(theirs)
    assert np.linalg.norm(expected[0] - expected[1]) > 0.1 * np.linalg.norm(expected[0])


def test_other_weights_are_rejected(tmp_path: Path) -> None:
    changed, path = bytearray(weights_file().read_bytes()), tmp_path / "weights.pth"
    changed[-1] ^= 1
    for content in (bytes(changed), bytes(changed[:-1]), b""):
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            read_weights(path)
        start = f"{path}: expected the published weights, SHA-256 579344248a93e230..., got "
        assert str(caught.value).startswith(start)
        assert str(caught.value).isprintable()


def test_missing_weights_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as caught:
        open_encoder("efficientnet-lite0")
    assert str(caught.value) == f"encoder efficientnet-lite0: its weights are not installed; try {install_command()}"
    spec = types.SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == PACKAGE else None)
    with pytest.raises(DataError, match=r"efficientnet-lite0-57934424\.pth: not found; expected the weights of "):
        open_encoder("efficientnet-lite0")


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


def test_an_attribute_of_an_allowed_name_is_rejected() -> None:
    for module, name in (("collections", "OrderedDict.__init__"), ("torch", "load"), ("builtins", "getattr")):
        with pytest.raises(pickle.UnpicklingError, match=f"{module}.{name} is not allowed"):
            parse_weights(pickle.dumps(1) + f"c{module}\n{name}\n.".encode())


def test_arrays_are_read_by_offset_shape_and_strides(monkeypatch: pytest.MonkeyPatch) -> None:
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    class FloatStorage:
        __module__ = "torch"
        __qualname__ = "FloatStorage"

    def rebuild(*_: Any) -> None: ...

    rebuild.__module__, rebuild.__qualname__, rebuild.__name__ = "torch._utils", *["_rebuild_tensor_v2"] * 2
    torch.FloatStorage, utils._rebuild_tensor_v2 = FloatStorage, rebuild  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    class Storage(str):
        pass

    class Writer(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return ("storage", FloatStorage, str(value), "cpu", 6, None) if isinstance(value, Storage) else None

    def array(key: str, offset: int, shape: tuple[int, ...], steps: tuple[int, ...]) -> Any:
        return MaliciousPickle(rebuild, Storage(key), offset, shape, steps, False, OrderedDict())

    buffer = io.BytesIO()
    arrays = {"a": array("0", 0, (2, 3), (3, 1)), "b": array("0", 1, (2, 2), (1, 3)), "c": array("1", 0, (6,), (1,))}
    for value in (1, 1001, {}, OrderedDict(arrays), ["1", "0"]):
        Writer(buffer, 2).dump(value)
    for first in (10, 0):
        buffer.write((6).to_bytes(8, "little") + np.arange(first, first + 6, dtype="<f4").tobytes())
    got = parse_weights(buffer.getvalue())
    assert {name: found.tolist() for name, found in got.items()} == {
        "a": [[0, 1, 2], [3, 4, 5]],
        "b": [[1, 4], [2, 5]],
        "c": [10, 11, 12, 13, 14, 15],
    }


def test_every_weight_is_used(weights: Any) -> None:
    used = set(weights)
    names = {name for name in used if name.startswith("_fc") or name.endswith("num_batches_tracked")}

    class Noting(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            used.discard(name)
            return super().__getitem__(name)

    efficientnet.graph(Noting(weights))
    assert used == names
