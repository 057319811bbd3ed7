"""captioner export."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioner.errors import LIBRARIES


def test_a_file_of_tensors(tiny_run: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    done = cli("export", tiny_run, "--output", file, "-o", "decode.max_length=5").succeeded()
    assert done.out == f"{file}\n"
    assert file.stat().st_size > 1000


@pytest.mark.parametrize(
    ("name", "words", "expected"),
    [
        ("a.npz", "", "a.npz: expected a name that ends in .safetensors"),
        ("a.safetensors", "-o model.decoder=rnn", "model.decoder has no effect on export; it uses decode.*"),
        ("a.safetensors", "-o decode.max_length=0", "expected an integer >= 1 and <= 1000, got 0"),
    ],
)
def test_wrong_exports(
    name: str, words: str, expected: str, tiny_run: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    cli("export", tiny_run, *words.split(), "--output", tmp_path / name).failed(2, expected)
    assert not (tmp_path / name).exists()


def test_a_missing_library_is_named_with_its_extra(
    tiny_run: Path, cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "safetensors"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    file = tmp_path / "a.safetensors"
    cli("export", tiny_run, "--output", file).failed(2, "needs safetensors")
    assert LIBRARIES["safetensors"] == "export"
    assert not file.exists()
