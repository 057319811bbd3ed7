"""Config files: defaults, relative paths, encodings and invalid files."""

import os
from pathlib import Path

import pytest

from captioner.config.options import Config
from captioner.config.yaml_io import MAX_CHARS, load
from captioner.errors import ConfigError


def file_problem(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert problem.isprintable()
    return problem


def test_without_a_file_the_defaults_are_used() -> None:
    assert load(None) == Config()
    assert load(None, ["seed=3"]).seed == 3


def test_relative_paths_start_at_the_file_or_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/my.yaml").write_text("data: {root: ../coco}")
    monkeypatch.chdir(tmp_path)
    assert load(Path("configs/my.yaml")).data.root == tmp_path.resolve() / "coco"
    assert (
        load(Path("configs/my.yaml"), ["data.source=cs231n", "data.root=here"]).data.root == tmp_path.resolve() / "here"
    )


@pytest.mark.parametrize("data", [b"\xef\xbb\xbfseed: 3\n", b"seed: 3\r\n", b"seed: 3"])
def test_byte_order_marks_and_windows_line_ends_are_read(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "my.yaml").write_bytes(data)
    assert load(tmp_path / "my.yaml").seed == 3


def test_a_problem_in_a_file_has_its_name_and_line_number(tmp_path: Path) -> None:
    path = tmp_path / "a long file name that is printed in full, so that an editor can open the file.yaml"
    path.write_text("seed: 1\nmodel:\n  hiden_dim: 3\n")
    assert file_problem(path) == f"{path}:3: model.hiden_dim: unknown option (did you mean model.hidden_dim?)"


def test_invalid_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("latin.yaml").write_bytes(b"seed: 1\n# caf\xe9\n")
    Path("utf16.yaml").write_bytes("seed: 1".encode("utf-16"))
    Path("nul.yaml").write_bytes(b"seed: 1\n\0")
    Path("large.yaml").write_bytes(b"#" * 10 * MAX_CHARS)
    Path("folder").mkdir()
    os.mkfifo("fifo")
    for name, problem in (
        ("latin.yaml", "latin.yaml:2: expected UTF-8 text, got the byte 0xe9"),
        ("utf16.yaml", "utf16.yaml:1: expected UTF-8 text, got the byte 0xff"),
        ("nul.yaml", "nul.yaml:2: control character U+0000; remove it"),
        ("large.yaml", "large.yaml: expected a file of at most 262144 bytes, got 655360"),
        ("folder", "folder: expected a regular file, got a folder"),
        ("fifo", "fifo: expected a regular file, got a named pipe"),
        ("/dev/zero", "/dev/zero: expected a regular file, got a device"),
        ("absent.yaml", "absent.yaml: not found (captioner config init FILE writes a new one)"),
        ("a\0b", "a\\x00b: cannot be opened: embedded null byte"),
        ("a\nb", "a\\nb: not found (captioner config list prints the shipped configs)"),
    ):
        assert file_problem(Path(name)) == problem
