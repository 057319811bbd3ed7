"""Every wrong tensor file is reported in one clear line, and nothing is written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_models import WORDS, random_model

from captioner.errors import CaptionerError, DataError
from captioner.export.metadata import write_metadata
from captioner.export.safetensors_file import import_safetensors, read_model
from captioner.export.tensor_names import to_tensors

safetensors = pytest.importorskip("safetensors.numpy")
Content = tuple[dict[str, np.ndarray], dict[str, Any]]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Content:
    restored = random_model(tmp_path_factory.mktemp("run"), "gru")
    return to_tensors(restored.model), json.loads(write_metadata(restored))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.safetensors"


def write(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
    safetensors.save_file(tensors, path, {"captioner": json.dumps(metadata)})


def error_of(path: Path) -> str:
    """Return the error of an import without the file name; it must be one short printable line."""
    with pytest.raises(CaptionerError) as caught:
        import_safetensors(path, path.parent / "imported")
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    assert not (path.parent / "imported").exists()
    return message.removeprefix(f"{path}: ")


def changed(path: Path, content: Content, tensors: dict[str, Any], **fields: Any) -> str:
    """Return the error for a file with other tensors or metadata; None removes one."""
    both: list[dict[str, Any]] = [{**content[0], **tensors}, {**content[1], **fields}]
    kept, metadata = ({key: value for key, value in part.items() if value is not None} for part in both)
    write(path, kept, metadata)
    return error_of(path)


def test_wrong_tensors(content: Content, path: Path) -> None:
    def error(**tensors: Any) -> str:
        return changed(path, content, {key.replace("_0_", "."): array for key, array in tensors.items()})

    bias = content[0]["output.bias"]
    infinite = np.where(np.arange(len(bias)) == 3, np.inf, bias)
    assert error(output_0_bias=None) == "tensor output.bias: missing; expected (18,)"
    assert error(output_0_bias=bias[:-1]) == "tensor output.bias: expected (18,) as the metadata implies, got (17,)"
    assert error(output_0_bias=bias[None]).endswith("got (1, 18)")
    assert error(W_vocab=bias).startswith("tensor W_vocab: unknown; expected embed.weight, ")
    assert error(output_0_bias=infinite) == "tensor output.bias: expected finite numbers of float32, got others"
    assert error(output_0_bias=infinite * np.nan).endswith("got others")
    doubles = {name: array.astype(np.float64) for name, array in content[0].items()}
    assert error(**{**doubles, "output.bias": np.full(18, 1e300)}).endswith("got others"), "too large for model.dtype"
    assert error(feature_std=np.zeros(6)) == "tensor feature_std: expected numbers above 0, got 0"
    assert "inside the reset gate" in error(rnn_0_bias_hh_l0=np.ones(21, np.float32))
    assert error(output_0_bias=bias.astype(np.int32)).endswith("expected float16, float32, float64, got I32")


def test_parameters_of_two_types(content: Content, path: Path) -> None:
    """A checkpoint has one type too: a single array of another type is damage."""
    half = {"output.bias": content[0]["output.bias"].astype(np.float16)}
    types = "float32 (rnn.bias_hh_l0) and float16 (output.bias)"
    assert changed(path, content, half) == f"expected parameters of one type, got {types}; convert all to one"


def test_standardization_without_the_option(content: Content, path: Path) -> None:
    config = {**content[1]["config"], "data": {**content[1]["config"]["data"], "standardize": False}}
    message = changed(path, content, {}, config=config)
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
        ({"words": [*WORDS[:-1], ""]}, "words: expected words of at least one character, got an empty word"),
        ({"words": WORDS[::-1]}, "words: expected <NULL> <START> <END> <UNK> first, got ['猫', 'café', "),
        ({"feature_dim": 0}, "feature_dim: expected 1 to 9,223,372,036,854,775,807, got 0"),
        ({"feature_dim": 1 << 60}, "as the metadata implies"),
        ({"step": 10**30}, "step: expected 0 to 9,223,372,036,854,775,807, got 10000"),
        ({"train_fingerprint": "\x1b[31m"}, "train_fingerprint: expected at most 2000 printable characters, got "),
        ({"base_models": [{"name": "birds"}]}, "base_models: expected a list of at most 20 models with name, license"),
        ({"feature_dim": True}, "feature_dim: unexpected True"),
        ({"region_dim": 5}, "region_dim: expected 0 for model.attention none, got 5"),
        ({"grid": [0, 2]}, "grid: expected rows and columns"),
        ({"encoder": 3}, "encoder: unexpected 3"),
        ({"config": {}}, "config: expected the sections data, model, decode, got []"),
        ({"config": [1]}, "config: expected the sections data, model, decode, got [1]"),
    ],
)
def test_wrong_metadata(fields: dict[str, Any], expected: str, content: Content, path: Path) -> None:
    assert expected in changed(path, content, {}, **fields)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"decoder": "mamba"}, "model.decoder: expected rnn, lstm, gru or transformer, got 'mamba'"),
        ({"hidden_dim": 1 << 60}, "as the metadata implies"),
        ({"hidden_dim": -1}, "model.hidden_dim: expected an integer >= 1"),
        ({"hiden_dim": 7}, "model.hiden_dim: unknown option (did you mean model.hidden_dim?)"),
        ({"attention": "adaptive"}, "region_dim: expected at least 1 for model.attention adaptive, got 0"),
        ({"decoder": {"deep": [1]}}, "model.decoder"),
    ],
)
def test_wrong_options(options: dict[str, Any], expected: str, content: Content, path: Path) -> None:
    config = content[1]["config"]
    config = {**config, "model": {**config["model"], **options}}
    assert expected in changed(path, content, {}, config=config)


def test_a_path_in_the_metadata_is_not_used(content: Content, path: Path) -> None:
    tensors, metadata = content
    data = {**metadata["config"]["data"], "source": "prepared", "root": "/etc/passwd"}
    write(path, tensors, {**metadata, "config": {**metadata["config"], "data": data}})
    assert "passwd" not in read_model(path).meta.config


def test_missing_metadata_and_other_json(path: Path) -> None:
    for metadata in (None, {"format": "pt"}):
        safetensors.save_file({"output.bias": np.zeros(3)}, path, metadata)
        assert error_of(path) == "metadata: missing; expected a file from `captioner export`"
    for text in ("", "[]", "{", "[" * 100_000, '{"format_version": ' + "9" * 5000 + "}"):
        safetensors.save_file({"output.bias": np.zeros(3)}, path, {"captioner": text})
        assert error_of(path).startswith("metadata: ")


def test_damaged_files(content: Content, path: Path) -> None:
    write(path, *content)
    whole = path.read_bytes()
    for length in (0, 1, 8, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert error_of(path)


def test_other_files(path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.safetensors: not found; expected a safetensors file"):
        read_model(path)
    with pytest.raises(DataError, match=r"expected a regular file, got a folder|cannot be opened"):
        read_model(path.parent)
    for content in (b"", b"\x89HDF\r\n\x1a\n", b"\x08\x08\x12\x09captioner", b"\x80\x04pickle", b"PK\x03\x04npz"):
        path.write_bytes(content)
        assert error_of(path) == "expected a safetensors file from `captioner export`, got another file"


def test_a_header_or_a_file_that_is_too_large(path: Path) -> None:
    path.write_bytes((1 << 40).to_bytes(8, "little") + b"{" + b" " * 100)
    assert error_of(path).startswith("damaged, or not a safetensors file: ")
    with path.open("wb") as file:
        file.truncate((8 << 30) + 1)  # sparse
    assert error_of(path) == "expected a file of at most 8589934592 bytes, got 8589934593"
