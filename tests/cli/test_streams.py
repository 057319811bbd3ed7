"""Closed, full and broken streams, any locale and any file name: results, exit codes and files stay the same."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from captioner.inference.find_checkpoint import BEST, LAST

WHOLE = ("-o", "train.max_steps=3")


@pytest.fixture(autouse=True)
def _here(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own_run.parent)


CLOSE = "import os, sys; os.close({}); os.execv(sys.executable, [sys.executable, '-m', 'captioner', *sys.argv[1:]])"


def run_closed(closed: int, *args: object) -> subprocess.CompletedProcess[str]:
    """Run a command with one closed standard stream."""
    command = [sys.executable, "-c", CLOSE.format(closed), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)


def run_open(args: tuple[object, ...]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "captioner", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)


READING: tuple[tuple[str, ...], ...] = (
    ("sample", "run"),
    ("sample", "run", "--json"),
    ("config", "show"),
    ("--help",),
)
"""One command per function that prints results."""


@pytest.mark.parametrize("args", READING, ids=" ".join)
def test_a_closed_stdin_or_stderr_does_not_change_results(args: tuple[str, ...]) -> None:
    expected = run_open(args)
    assert expected.returncode == 0
    for closed in (0, 2):
        done = run_closed(closed, *args)
        assert (done.returncode, done.stdout) == (0, expected.stdout)


@pytest.mark.parametrize("args", READING, ids=" ".join)
def test_a_closed_stdout_is_an_error_of_one_line(args: tuple[str, ...]) -> None:
    done = run_closed(1, *args)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "captioner: output: Bad file descriptor"
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def expected(album: Callable[..., Path], small_options: tuple[str, ...], tmp_path_factory: Any) -> Path:
    """A folder with the run `run` and the data set `set.h5` that commands with open streams write."""
    home: Path = tmp_path_factory.mktemp("open")
    table = album(home / "photos")
    for args in (
        ("train", *small_options, *WHOLE, "--run", home / "run"),
        ("prepare", table, "--encoder", "scenes", "--min-count", "1", "--output", home / "set.h5"),
    ):
        assert run_open(args).returncode == 0
    return home


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_train_finishes(closed: int, expected: Path, small_options: tuple[str, ...]) -> None:
    """A file opened later must not get the descriptor of a standard stream: printed text would go to it."""
    done = run_closed(closed, "train", *small_options, *WHOLE, "--run", "run", "--overwrite")
    assert (done.returncode, done.stdout) == (0, "")
    assert json.loads(Path("run/summary.json").read_text())["ended"] == "done"
    assert not Path("run/before").exists()
    assert Path("run", LAST).read_bytes() == Path(expected, "run", LAST).read_bytes()
    steps = [json.loads(line)["step"] for line in Path("run/history.jsonl").read_text().splitlines()]
    assert steps[-1] == 3


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_prepare_writes_the_data_set(closed: int, expected: Path) -> None:
    table = expected / "photos" / "captions.csv"
    done = run_closed(closed, "prepare", table, "--encoder", "scenes", "--min-count", "1", "--output", "set.h5")
    assert Path("set.h5").read_bytes() == Path(expected, "set.h5").read_bytes()
    assert not Path("set.h5.part").exists()
    if closed == 1:  # the data set is complete, printing the summary fails
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == "captioner: output: Bad file descriptor"
    else:
        assert done.returncode == 0
        assert done.stdout.startswith("set.h5\n")


def test_names_from_a_closed_stdin_are_an_error() -> None:
    done = run_closed(0, "sample", "run", "-", "--encoder", "scenes")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("captioner: -: expected names of photographs on stdin, one per line, but stdin is closed\n")


def test_an_unreadable_stdin_is_an_error(shell: Callable[..., Any]) -> None:
    with open("/proc/self/mem", "rb") as broken:
        done = shell("sample", "run", "-", "--encoder", "scenes", stdin=broken)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "captioner: -: cannot read stdin: Input/output error\n"


def test_train_finishes_with_all_streams_closed(small_options: tuple[str, ...]) -> None:
    close_all = (
        "import os, sys\nfor number in (0, 1, 2): os.close(number)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'captioner', *sys.argv[1:]])"
    )
    args = ("train", *small_options, *WHOLE, "--run", "new")
    done = subprocess.run([sys.executable, "-c", close_all, *args], timeout=120)
    assert done.returncode == 0
    assert json.loads(Path("new/summary.json").read_text())["ended"] == "done"
    assert {file.name for file in Path("new").iterdir()} == {file.name for file in Path("run").iterdir()}


NAMES = {
    "controls": "two\nlines\x1b[2Jgone\u202etxt",
    "no UTF-8": os.fsdecode(b"caf\xe9\xff"),
    "an option": "-o",
    "spaces, quotes and letters": "my runs  a'b\"c$d`e données 猫",
}
LINE = r"captioner: [\x20-\x7e\xa0-\U0010ffff]+\n"
PRINTING = ("--help", "config show", "sample run", "sample run --json", "gradcheck")
"""Commands with different ways to print."""


@pytest.mark.parametrize("command", PRINTING)
def test_a_full_disk_on_stdout_is_an_error(command: str, shell: Callable[..., Any]) -> None:
    with open("/dev/full", "w") as full:
        done = shell(*command.split(), stdout=full)
    assert (done.returncode, done.stderr) == (1, "captioner: output: No space left on device\n")


@pytest.mark.parametrize("command", PRINTING)
def test_a_closed_pipe_on_stdout_is_no_error(command: str, shell: Callable[..., Any], closed_pipe: int) -> None:
    done = shell(*command.split(), stdout=closed_pipe)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def closed_pipe() -> Iterator[int]:
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


def test_all_captions_are_saved_after_the_pipe_was_closed(shell: Callable[..., Any], closed_pipe: int) -> None:
    code = (
        "from captioner.cli import main, output\n"
        "def closed(*cells): raise BrokenPipeError\n"  # as if the output were larger than the buffer
        "output.result = closed\n"
        "main(['sample', 'run', '--coco', 'captions.json'])"
    )
    done = shell(code=code, stdout=closed_pipe)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(Path("captions.json").read_text())) == 10


def test_a_failed_check_has_exit_code_1_after_the_pipe_was_closed(
    shell: Callable[..., Any], closed_pipe: int, small_options: tuple[str, ...]
) -> None:
    options = *small_options, "-o", "train.max_steps=1", "--run", "new"
    done = shell("train", "--overfit", "2", *options, stdout=closed_pipe)
    assert done.returncode == 1


ENVIRONMENTS = {
    "plain C": {"LC_ALL": "C"},
    "C in ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "dumb": {"TERM": "dumb", "NO_COLOR": "1"},
    "nothing set": {},
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_any_locale_prints_any_word(name: str, shell: Callable[..., Any], coco_run: Path) -> None:
    kept = {key: os.environ[key] for key in ("PATH", "PYTHONPATH", "OPENBLAS_NUM_THREADS") if key in os.environ}
    done = shell("sample", coco_run, env=kept | ENVIRONMENTS[name], text=False)
    assert (done.returncode, done.stderr) == (0, b"")
    shown = done.stdout.decode()
    assert "\t  a café 猫\n" in shown or "\t  a caf\\xe9 \\u732b\n" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("name", NAMES)
def test_a_run_folder_may_have_any_name(name: str, cli: Callable[..., Any], small_options: tuple[str, ...]) -> None:
    run = Path("runs", NAMES[name])
    first = cli("train", *small_options, "-o", "train.max_steps=2", "--run", run)
    assert (first.code, first.out) == (0, ""), first.err
    again = cli("train", "--resume", run, "-o", "train.max_steps=3")
    assert (again.code, again.out) == (0, ""), again.err
    assert {LAST, BEST} <= set(os.listdir(run))
    cli("sample", run, "-n", "1").succeeded()
    for text in (first.err, again.err):
        assert all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "command", ["sample {}", "sample run {}", "sample run --features {}", "train --resume {}", "train -c {} --run new",
                "evaluate {}", "data show -o data.root={} -o data.source=prepared", "train --data {} --run new",
                "prepare {} --output new.h5"]
)  # fmt: skip
def test_a_missing_file_of_any_name_is_one_line(command: str, name: str, cli: Callable[..., Any]) -> None:
    path = f"{Path('nowhere', NAMES[name])}"
    done = cli(*(word.replace("{}", path) for word in command.split()))
    assert done.code in (1, 2)
    assert done.out == ""
    assert re.fullmatch(LINE, done.err), done.err


def test_a_full_disk_on_stderr_does_not_stop_training(
    shell: Callable[..., Any], small_options: tuple[str, ...]
) -> None:
    with open("/dev/full", "w") as full:
        done = shell("train", *small_options, "-o", "train.max_steps=2", "--run", "new", stderr=full)
    assert (done.returncode, done.stdout) == (0, "")
    assert json.loads(Path("new/summary.json").read_text())["ended"] == "done"


def test_a_closed_pipe_does_not_stop_training(
    shell: Callable[..., Any], small_options: tuple[str, ...], closed_pipe: int
) -> None:
    """After `captioner train 2>&1 | head -1`, exit code 0 still means a finished run."""
    options = (*small_options, "--run", "new", "-o", "train.epochs=1")
    done = shell("train", *options, stdout=closed_pipe, stderr=closed_pipe)
    assert done.returncode == 0
    assert json.loads(Path("new/summary.json").read_text())["ended"] == "done"


def test_without_stdout(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert cli("config", "show") == (0, "", "")


@pytest.fixture
def encoded_cli(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a command with the encoding of a terminal; return what the terminal shows."""

    def run(encoding: str, *args: object) -> str:
        out = io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding=encoding))
            assert cli(*args).code == 0
            sys.stdout.flush()
            return out.getvalue().decode(encoding)

    return run


def test_characters_that_the_terminal_lacks_are_escaped(encoded_cli: Callable[..., str], coco_run: Path) -> None:
    assert "\t  a café 猫\n" in encoded_cli("utf-8", "sample", coco_run)
    for encoding in ("ascii", "cyrillic"):
        assert "\t  a caf\\xe9 \\u732b\n" in encoded_cli(encoding, "sample", coco_run)


def test_json_is_independent_of_the_encoding(encoded_cli: Callable[..., str], coco_run: Path) -> None:
    for encoding in ("utf-8", "ascii", "cyrillic", "latin-1"):
        line, *_ = encoded_cli(encoding, "sample", coco_run, "--json").splitlines()
        assert json.loads(line)["references"][0] == "a café 猫"


def test_piped_output_has_no_control_sequences(shell: Callable[..., Any], small_options: tuple[str, ...]) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "NO_COLOR": "1"}
    done = shell("train", *small_options, "--run", "new", "-o", "train.epochs=1", env=environment)
    assert (done.returncode, done.stdout) == (0, "")
    assert re.fullmatch(r"[\x20-\x7e\n]+", done.stderr)
    assert len(done.stderr.splitlines()) == 4
