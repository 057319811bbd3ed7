"""Full and broken streams, any locale and any file name: results, exit codes and files stay the same."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from captioner.captioning.find_checkpoint import LAST
from captioner.training.run_folder import end_of, records


@pytest.fixture(autouse=True)
def _here(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own_run.parent)


CLOSE = (
    "import os, sys\nfor number in {}: os.close(number)\n"
    "os.execv(sys.executable, [sys.executable, '-m', 'captioner', *sys.argv[1:]])"
)


def test_a_closed_standard_stream_is_no_descriptor_of_a_file(
    shell: Callable[..., Any], small_options: tuple[str, ...]
) -> None:
    """A file opened later must not get the descriptor of a standard stream: printed text would go to it."""
    command = "train", *small_options, "-o", "train.max_steps=3", "--run"
    assert shell(*command, "open").returncode == 0
    done = shell(*command, "closed", code=CLOSE.format([0, 1, 2]), stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (0, "")
    assert end_of(records(Path("closed/history.jsonl")))["ended"] == "done"
    assert Path("closed", LAST).read_bytes() == Path("open", LAST).read_bytes()
    done = shell("--help", code=CLOSE.format([1]), stdin=subprocess.DEVNULL)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "Bad file descriptor" in done.stderr


@pytest.fixture
def closed_pipe() -> Iterator[int]:
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


@pytest.mark.parametrize("command", ["config show", "sample run --json", "gradcheck"])
def test_on_stdout_a_full_disk_is_an_error_and_a_closed_pipe_is_none(
    command: str, shell: Callable[..., Any], closed_pipe: int
) -> None:
    with open("/dev/full", "w") as full:
        done = shell(*command.split(), stdout=full)
    assert (done.returncode, done.stderr) == (1, "captioner: output: No space left on device\n")
    done = shell(*command.split(), stdout=closed_pipe)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_failed_check_has_exit_code_1_after_the_pipe_was_closed(
    shell: Callable[..., Any], closed_pipe: int, small_options: tuple[str, ...]
) -> None:
    options = *small_options, "-o", "train.max_steps=1", "--run", "new"
    assert shell("train", "--overfit", "2", *options, stdout=closed_pipe).returncode == 1


def test_a_full_disk_or_a_closed_pipe_on_stderr_does_not_stop_training(
    shell: Callable[..., Any], small_options: tuple[str, ...], closed_pipe: int
) -> None:
    """After `captioner train 2>&1 | head -1`, exit code 0 still means a finished run."""
    command = ("train", *small_options, "-o", "train.max_steps=2", "--overwrite", "--run", "new")
    with open("/dev/full", "w") as full:
        for streams in ({"stderr": full}, {"stdout": closed_pipe, "stderr": closed_pipe}):
            assert shell(*command, **streams).returncode == 0
            assert end_of(records(Path("new/history.jsonl")))["ended"] == "done"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_characters_that_the_terminal_lacks_are_escaped(
    encoding: str, cli: Callable[..., Any], coco_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(*words: str) -> str:
        out = io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding=encoding))
            assert cli("sample", coco_run, *words).code == 0
            sys.stdout.flush()
            return out.getvalue().decode(encoding)

    words = {"utf-8": "a café 猫", "latin-1": "a café \\u732b"}.get(encoding, "a caf\\xe9 \\u732b")
    assert f"\t  {words}\n" in shown()
    assert json.loads(shown("--json").splitlines()[0])["references"][0] == "a café 猫"
