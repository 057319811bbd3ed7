"""Closed, full and broken streams, any locale and any file name: results, exit codes and files stay the same."""

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

WHOLE = ("-o", "train.max_steps=3")
CLOSE = (
    "import os, sys\nfor number in {}: os.close(number)\n"
    "os.execv(sys.executable, [sys.executable, '-m', 'captioner', *sys.argv[1:]])"
)
CLOSED_STDOUT = "captioner: output: Bad file descriptor"


@pytest.fixture(autouse=True)
def _here(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own_run.parent)


@pytest.fixture(scope="module")
def closed(shell: Callable[..., Any]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command with closed standard streams."""
    return lambda streams, *args: shell(*args, code=CLOSE.format(streams), stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("command", ["sample run", "--help"])
def test_results_do_not_need_stdin_and_stderr_and_a_closed_stdout_is_an_error(
    command: str, closed: Callable[..., Any], shell: Callable[..., Any]
) -> None:
    expected = shell(*command.split())
    assert expected.returncode == 0
    for stream in (0, 2):
        done = closed([stream], *command.split())
        assert (done.returncode, done.stdout) == (0, expected.stdout)
    done = closed([1], *command.split())
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == CLOSED_STDOUT
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def expected(
    shell: Callable[..., Any], album: Callable[..., Path], small_options: tuple[str, ...], tmp_path_factory: Any
) -> Path:
    """A folder with the run `run` and the data set `set.h5` that commands with open streams write."""
    home: Path = tmp_path_factory.mktemp("open")
    table = album(home / "photos")
    for args in (
        ("train", *small_options, *WHOLE, "--run", home / "run"),
        ("prepare", table, "--encoder", "scenes", "--min-count", "1", "--output", home / "set.h5"),
    ):
        assert shell(*args).returncode == 0
    return home


@pytest.mark.parametrize("streams", [[1], [0, 1, 2]], ids=str)
def test_train_finishes(
    streams: list[int], closed: Callable[..., Any], expected: Path, small_options: tuple[str, ...]
) -> None:
    """A file opened later must not get the descriptor of a standard stream: printed text would go to it."""
    done = closed(streams, "train", *small_options, *WHOLE, "--run", "run", "--overwrite")
    assert (done.returncode, done.stdout) == (0, "")
    assert end_of(records(Path("run/history.jsonl")))["ended"] == "done"
    assert {file.name for file in Path("run").iterdir()} == {file.name for file in (expected / "run").iterdir()}
    assert Path("run", LAST).read_bytes() == Path(expected, "run", LAST).read_bytes()
    steps = [json.loads(line)["step"] for line in Path("run/history.jsonl").read_text().splitlines()]
    assert steps[-1] == 3


@pytest.mark.parametrize("stream", [0, 1, 2])
def test_prepare_writes_the_data_set(stream: int, closed: Callable[..., Any], expected: Path) -> None:
    table = expected / "photos" / "captions.csv"
    done = closed([stream], "prepare", table, "--encoder", "scenes", "--min-count", "1", "--output", "set.h5")
    assert Path("set.h5").read_bytes() == Path(expected, "set.h5").read_bytes()
    if stream == 1:  # the data set is complete, printing the summary fails
        assert (done.returncode, done.stderr.splitlines()[-1]) == (1, CLOSED_STDOUT)
    else:
        assert (done.returncode, done.stdout.partition("\n")[0]) == (0, "set.h5")


@pytest.fixture
def closed_pipe() -> Iterator[int]:
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


@pytest.mark.parametrize("command", ["--help", "sample run --json", "gradcheck"])
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


@pytest.mark.parametrize(
    "name",
    ["two\nlines\x1b[2Jgone\u202etxt", os.fsdecode(b"caf\xe9\xff"), "-o", "my runs  a'b\"c$d`e données 猫"],
    ids=["controls", "no UTF-8", "an option", "spaces, quotes and letters"],
)
def test_a_run_folder_may_have_any_name(name: str, cli: Callable[..., Any], small_options: tuple[str, ...]) -> None:
    run = Path("runs", name)
    for words in ((*small_options, "-o", "train.max_steps=2", "--run"), ("-o", "train.max_steps=3", "--resume")):
        done = cli("train", *words, run)
        assert (done.code, done.out) == (0, ""), done.err
        assert all(line.isprintable() for line in done.err.split("\n"))
    assert LAST in os.listdir(run)
    cli("sample", run, "-n", "1", "-o", "decode.min_length=3").succeeded()


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
