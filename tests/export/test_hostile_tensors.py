"""Every wrong tensor file is one clear line, and nothing is written."""

import contextlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_models import WORDS, random_model

from captioner.errors import CaptionerError, DataError
from captioner.export import npz_file, safetensors_file
from captioner.export.import_tensors import import_tensors, read_model
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


def error_of(path: Path) -> str:
    """Return the error of an import without the file name; it must be one short printable line."""
    with pytest.raises(CaptionerError) as caught:
        import_tensors(path, path.parent / "imported")
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    assert not (path.parent / "imported").exists()
    return message.removeprefix(f"{path}: ")


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


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, text in members.items():
            file.writestr(name, text)


def npy(array: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


BILLION = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000000)}\n"
OBJECTS = npy(np.array([{}], object), allow_pickle=True)
MEMBERS: list[tuple[dict[str, bytes], int, str]] = [
    ({"captioner.npy": npy(np.zeros(1 << 22, np.uint8))}, zipfile.ZIP_DEFLATED, "expected an uncompressed array"),
    ({"a.npy": OBJECTS}, zipfile.ZIP_STORED, "expected an array of floats, got object"),
    ({"a.npy": npy(np.zeros(2, complex))}, zipfile.ZIP_STORED, "expected an array of floats, got complex128"),
    ({"a.npy": header(BILLION)}, zipfile.ZIP_STORED, "expected 4,000,000,000,000,000,000 bytes"),
    ({"a.npy": header(BILLION.replace("(1", "(-1"))}, zipfile.ZIP_STORED, "bytes"),
    ({"a.npy": header("__import__('os')")}, zipfile.ZIP_STORED, "damaged"),
    ({"a.npy": header("{'descr': '<f4', 'shape': (")}, zipfile.ZIP_STORED, "damaged header: TokenError"),
    ({"a.npy": header(BILLION.replace("'<f4'", "()"))}, zipfile.ZIP_STORED, "damaged header: IndexError"),
    ({"a.npy": header("{[]: 1}")}, zipfile.ZIP_STORED, "damaged header: TypeError"),
    ({"a.npy": b"text"}, zipfile.ZIP_STORED, "damaged"),
    ({"a.npy": b""}, zipfile.ZIP_STORED, "damaged"),
    ({"a.npy": npy(np.zeros(3)), "a": npy(np.zeros(3))}, zipfile.ZIP_STORED, "one array of each name"),
    ({f"{i}.npy": npy(np.zeros(1)) for i in range(101)}, zipfile.ZIP_STORED, "at most 100 arrays, got 101"),
    ({"captioner.npy": npy(np.zeros(3))}, zipfile.ZIP_STORED, "bytes of JSON as uint8"),
]


@pytest.mark.parametrize(("members", "compression", "expected"), MEMBERS, ids=[row[2] for row in MEMBERS])
def test_hostile_archives(members: dict[str, bytes], compression: int, expected: str, tmp_path: Path) -> None:
    archive(tmp_path / "a.npz", members, compression)
    assert expected in error_of(tmp_path / "a.npz")


def test_overlapping_members(tmp_path: Path) -> None:
    """Many entries of the directory point to one member, which is a bomb without compression."""
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("0.npy", npy(np.zeros(10_000)))
        (first,) = file.infolist()
        for number in range(1, 60):
            other = zipfile.ZipInfo(f"{number}.npy")
            for name in ("file_size", "compress_size", "CRC", "header_offset"):
                setattr(other, name, getattr(first, name))
            file.filelist.append(other)
    assert "the size of the file" in error_of(path)


def test_an_encrypted_member(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    archive(path, {"a.npy": npy(np.zeros(3))})
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    assert "damaged" in error_of(path)


def test_a_header_of_safetensors_that_is_larger_than_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes((1 << 40).to_bytes(8, "little") + b"{" + b" " * 100)
    assert error_of(path).startswith("damaged, or not a safetensors file: ")


@pytest.mark.parametrize("open_file", [npz_file.open_file, safetensors_file.open_file])
def test_opening_reads_headers_only(
    open_file: Callable[..., Any], content: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "npz" if open_file is npz_file.open_file else "safetensors"
    (tmp_path / "a").write_bytes(FORMATS[name].encode(content[0], json.dumps(content[1])))
    with open_file(tmp_path / "a") as file:
        assert isinstance(file, TensorFile)
        assert {one: tensor.shape for one, tensor in file.tensors.items()} == {
            one: array.shape for one, array in content[0].items()
        }
        np.testing.assert_array_equal(file.read("embed.weight"), content[0]["embed.weight"])
