"""Published weights: verified before they are read, without executing code."""

import importlib.util
import io
import os
import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.errors import DataError, UsageError
from captioner.extras import install_command
from captioner.images import open_encoder
from captioner.images.efficientnet_weights import NETWORKS, parse_weights, read_weights, weights_file


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
    with pytest.raises(DataError, match=rf"{file}: not found; expected the weights of {package}, which "):
        open_encoder(name)


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
