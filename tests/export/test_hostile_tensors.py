"""Every wrong tensor file is reported in one clear line, and nothing is written."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_models import WORDS, random_model
from tensor_errors import error_of

from captioner.errors import DataError
from captioner.export import npz_file, safetensors_file
from captioner.export.import_tensors import read_model
from captioner.export.metadata import write_metadata
from captioner.export.tensor_file import TensorFile
from captioner.export.tensor_formats import FORMATS
from captioner.export.tensor_names import to_tensors

safetensors = pytest.importorskip("safetensors.numpy")
Content = tuple[dict[str, np.ndarray], dict[str, Any]]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Content:
    restored = random_model(tmp_path_factory.mktemp("run"), "gru")
    return to_tensors(restored.model), json.loads(write_metadata(restored))


def changed(path: Path, content: Content, name: str, tensors: dict[str, Any], **fields: Any) -> str:
    """Return the error for a file with other tensors or metadata; None removes one."""
    both: list[dict[str, Any]] = [{**content[0], **tensors}, {**content[1], **fields}]
    kept, metadata = ({key: value for key, value in some.items() if value is not None} for some in both)
    path.write_bytes(FORMATS[name].encode(kept, json.dumps(metadata)))
    return error_of(path)


every_format = pytest.mark.parametrize("name", FORMATS)


@every_format
def test_wrong_tensors(name: str, content: Content, tmp_path: Path) -> None:
    def error(**tensors: Any) -> str:
        return changed(
            tmp_path / "a", content, name, {key.replace("_0_", "."): array for key, array in tensors.items()}
        )

    bias = content[0]["output.bias"]
    infinite = np.where(np.arange(len(bias)) == 3, np.inf, bias)
    assert error(output_0_bias=None) == "tensor output.bias: missing; expected (18,)"
    assert error(output_0_bias=bias[:-1]) == "tensor output.bias: expected (18,) as the metadata implies, got (17,)"
    assert error(output_0_bias=bias[None]).endswith("got (1, 18)")
    assert error(W_vocab=bias).startswith("tensor W_vocab: unknown; expected embed.weight, ")
    assert error(output_0_bias=infinite) == "tensor output.bias: expected finite numbers of float32, got others"
    assert error(output_0_bias=infinite * np.nan).endswith("got others")
    assert error(output_0_bias=np.full(18, 1e300)).endswith("got others"), "too large for model.dtype"
    assert error(feature_std=np.zeros(6)) == "tensor feature_std: expected numbers above 0, got 0"
    assert "inside the reset gate" in error(rnn_0_bias_hh_l0=np.ones(21))
    assert "float" in error(output_0_bias=bias.astype(np.int32))


@every_format
def test_standardization_without_the_option(name: str, content: Content, tmp_path: Path) -> None:
    config = {**content[1]["config"], "data": {**content[1]["config"]["data"], "standardize": False}}
    message = changed(tmp_path / "a", content, name, {}, config=config)
    assert message.startswith("tensor feature_mean: expected mean 0 and deviation 1 without data.standardize")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"format_version": 2}, "expected format_version 1, got 2; use the version of captioner that wrote the file"),
        ({"format_version": None}, "expected format_version 1, got None"),
        ({"words": None}, "missing or unknown: 'words'"),
        ({"extra": 1}, "missing or unknown: 'extra'"),
        ({"words": "abc"}, "words: unexpected 'abc'"),
        ({"words": [*WORDS[:-1], 7]}, "words: expected strings"),
        ({"words": [*WORDS[:-1], "café"]}, "duplicate word 'café'"),
        ({"words": [*WORDS[:-1], "\x1b[31m"]}, "expected printable words"),
        ({"words": WORDS[4:]}, "<NULL> is missing"),
        ({"feature_dim": 0}, "feature_dim: expected at least 1, got 0"),
        ({"feature_dim": 1 << 70}, "as the metadata implies"),
        ({"feature_dim": True}, "feature_dim: unexpected True"),
        ({"region_dim": 5}, "region_dim: expected 0 for model.attention none, got 5"),
        ({"grid": [0, 2]}, "grid: expected rows and columns"),
        ({"encoder": 3}, "encoder: unexpected 3"),
        ({"config": {}}, "config: expected the sections data, model, decode, got []"),
        ({"config": [1]}, "config: expected the sections data, model, decode, got [1]"),
    ],
)
def test_wrong_metadata(fields: dict[str, Any], expected: str, content: Content, tmp_path: Path) -> None:
    assert expected in changed(tmp_path / "a.npz", content, "npz", {}, **fields)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"cell": "transformer"}, "model.cell: expected rnn, lstm or gru, got 'transformer'"),
        ({"hidden_dim": 1 << 60}, "as the metadata implies"),
        ({"hidden_dim": -1}, "model.hidden_dim: expected an integer >= 1"),
        ({"hiden_dim": 7}, "model.hiden_dim: unknown option (did you mean model.hidden_dim?)"),
        ({"attention": "adaptive"}, "region_dim: expected at least 1 for model.attention adaptive, got 0"),
        ({"cell": {"deep": [1]}}, "model.cell"),
    ],
)
def test_wrong_options(options: dict[str, Any], expected: str, content: Content, tmp_path: Path) -> None:
    config = content[1]["config"]
    config = {**config, "model": {**config["model"], **options}}
    assert expected in changed(tmp_path / "a.npz", content, "npz", {}, config=config)


def test_a_path_in_the_metadata_is_not_used(content: Content, tmp_path: Path) -> None:
    config = content[1]["config"]
    config = {**config, "data": {**config["data"], "source": "prepared", "root": "/etc/passwd"}}
    path = tmp_path / "a.npz"
    path.write_bytes(FORMATS["npz"].encode(content[0], json.dumps({**content[1], "config": config})))
    assert "passwd" not in read_model(path).meta.config


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"format_version": ' + b"9" * 5000 + b"}"]
)
def test_metadata_that_is_not_a_json_object(text: bytes, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", captioner=np.frombuffer(text, np.uint8))
    assert error_of(tmp_path / "a.npz").startswith("metadata: ")


def test_missing_metadata(content: Content, tmp_path: Path) -> None:
    tensors, _ = content
    np.savez(tmp_path / "a.npz", **tensors)
    safetensors.save_file(tensors, tmp_path / "a.safetensors", {"format": "pt"})
    for file in tmp_path.iterdir():
        assert error_of(file) == "metadata: missing; expected a file from `captioner export`"


@every_format
def test_damaged_files(name: str, content: Content, tmp_path: Path) -> None:
    path, whole = tmp_path / "a", FORMATS[name].encode(content[0], json.dumps(content[1]))
    for length in (0, 1, 8, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert error_of(path)
    if name == "npz":  # which has a CRC-32
        path.write_bytes(whole[:400] + bytes([whole[400] ^ 1]) + whole[401:])
        assert "damaged" in error_of(path)


@every_format
@given(data=st.data())
def test_any_change_is_read_or_reported(
    name: str, data: st.DataObject, content: Content, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"changed-{name}"
    whole = bytearray(FORMATS[name].encode(content[0], json.dumps(content[1])))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    with contextlib.suppress(DataError):  # anything else is a failure
        read_model(path)


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with pytest.raises(DataError, match=r"a: not found; expected a safetensors or npz file"):
        read_model(path)
    with pytest.raises(DataError, match=r"expected a regular file, got a folder|cannot be opened"):
        read_model(tmp_path)
    for content in (b"", b"\x89HDF\r\n\x1a\n", b"\x08\x08\x12\x09captioner", b"\x80\x04pickle"):
        path.write_bytes(content)
        assert error_of(path) == "expected a safetensors or npz file from `captioner export`, got another file"


def test_a_header_of_safetensors_that_is_larger_than_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes((1 << 40).to_bytes(8, "little") + b"{" + b" " * 100)
    assert error_of(path).startswith("damaged, or not a safetensors file: ")


@pytest.mark.parametrize("open_file", [npz_file.open_file, safetensors_file.open_file])
def test_an_opened_file_has_the_shapes_and_the_arrays(
    open_file: Callable[..., Any], content: Content, tmp_path: Path
) -> None:
    name = "npz" if open_file is npz_file.open_file else "safetensors"
    (tmp_path / "a").write_bytes(FORMATS[name].encode(content[0], json.dumps(content[1])))
    with open_file(tmp_path / "a") as file:
        assert isinstance(file, TensorFile)
        assert {one: tensor.shape for one, tensor in file.tensors.items()} == {
            one: array.shape for one, array in content[0].items()
        }
        np.testing.assert_array_equal(file.read("embed.weight"), content[0]["embed.weight"])
