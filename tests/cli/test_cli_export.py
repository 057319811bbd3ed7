"""captioner export and captioner import."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioner.errors import LIBRARIES


def test_an_imported_run_writes_the_same_captions(tiny_run: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    file, imported = tmp_path / "tensors", tmp_path / "imported"
    assert cli("export", tiny_run, "--format", "safetensors", "--output", file) == (0, f"{file}\n", "")
    assert cli("import", file, "--output", imported) == (0, f"{imported / 'best.h5'}\n", "")
    for command in (["sample", "-n", "5"], ["evaluate"]):
        before, after = (cli(command[0], run, *command[1:]) for run in (tiny_run, imported))
        assert (after.code, after.out) == (before.code, before.out)
        assert before.out


def test_an_imported_model_can_be_trained_further(
    tiny_run: Path, cli: Callable[..., Any], small_options: tuple[str, ...], tmp_path: Path
) -> None:
    pytest.importorskip("safetensors")
    cli("export", tiny_run, "--format", "safetensors", "--output", tmp_path / "a")
    cli("import", tmp_path / "a", "--output", tmp_path / "a.h5")
    more = f"--set=train.init_from={tmp_path / 'a.h5'}", "--set=train.max_steps=1"
    assert cli("train", "--run", tmp_path / "more", *small_options, *more).code == 0


def test_onnx_files_are_listed(tiny_run: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    done = cli(
        "export", tiny_run, "--format", "onnx", "--output", tmp_path / "o", "-o", "decode.max_length=5"
    ).succeeded()
    assert done.out.splitlines() == [str(tmp_path / "o" / f"{name}.onnx") for name in ("start", "step", "greedy")]


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (("--format", "onnx", "-o", "model.cell=rnn"), 2, "model.cell has no effect on export; it uses decode.*"),
        (("--format", "onnx", "--dtype", "float16"), 2, "--dtype float16: unsupported by --format onnx"),
        (("--format", "npz"), 2, "'npz' is not one of 'onnx', 'safetensors'"),
        (("--format", "safetensors", "-o", "decode.max_length=0"), 2, "expected an integer >= 1 and <= 1000, got 0"),
        (("--format", "onnx", "-o", "decode.suppress_words=zebra"), 2, "expected words of the vocabulary, got zebra"),
    ],
)
def test_wrong_exports(
    words: tuple[str, ...], code: int, expected: str, tiny_run: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    done = cli("export", tiny_run, *words, "--output", tmp_path / "o")
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert expected in done.err
    assert not (tmp_path / "o").exists()


def test_a_missing_format_is_one_line(tiny_run: Path, cli: Callable[..., Any]) -> None:
    done = cli("export", tiny_run, "--output", "o")
    assert done.code == 2
    assert "Missing option '--format'. Choose from: onnx, safetensors; see captioner export --help" in done.err


def test_wrong_imports(tiny_run: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    for file, expected in ((tmp_path / "no.safetensors", "not found"), (tiny_run / "best.h5", "got another file")):
        done = cli("import", file, "--output", tmp_path / "o")
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
        assert expected in done.err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(("name", "library"), [("onnx", "onnx"), ("safetensors", "safetensors")])
def test_a_missing_library_is_named_with_its_extra(
    name: str, library: str, tiny_run: Path, cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [one for one in sys.modules if one.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, library, None)
    done = cli("export", tiny_run, "--format", name, "--output", tmp_path / "o")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert f"needs {library}" in done.err
    assert LIBRARIES[library] == "export"
    assert not (tmp_path / "o").exists()
