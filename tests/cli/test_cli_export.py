"""captioner export."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioner.errors import LIBRARIES


def test_a_model_with_attention_names_its_inputs(attention_run: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    done = cli("export", attention_run, "--format", "safetensors", "--output", tmp_path / "a")
    assert done.code == 0
    assert done.err.startswith("the model has attention: it needs `features` and `regions` of the encoder; ")


def test_onnx_files_are_listed(tiny_run: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    words = ("--format", "onnx", "--output", tmp_path / "o", "-o", "decode.max_length=5")
    done = cli("export", tiny_run, *words).succeeded()
    assert done.out.splitlines() == [str(tmp_path / "o" / f"{name}.onnx") for name in ("start", "step", "greedy")]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--format onnx -o model.decoder=rnn", "model.decoder has no effect on export; it uses decode.*"),
        ("--format onnx --dtype float16", "--dtype float16: unsupported by --format onnx"),
        ("--format npz", "'npz' is not one of 'onnx', 'safetensors'"),
        ("--format safetensors -o decode.max_length=0", "expected an integer >= 1 and <= 1000, got 0"),
        ("--format onnx -o decode.suppress_words=zebra", "expected words of the vocabulary, got zebra"),
        ("", "Missing option '--format'. Choose from: onnx, safetensors; see captioner export --help"),
    ],
)
def test_wrong_exports(words: str, expected: str, tiny_run: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    cli("export", tiny_run, *words.split(), "--output", tmp_path / "o").failed(2, expected)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("library", ["onnx", "safetensors"])
def test_a_missing_library_is_named_with_its_extra(
    library: str, tiny_run: Path, cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, library, None)
    cli("export", tiny_run, "--format", library, "--output", tmp_path / "o").failed(2, f"needs {library}")
    assert LIBRARIES[library] == "export"
    assert not (tmp_path / "o").exists()
