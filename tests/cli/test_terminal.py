"""Any output stream, locale and file name: plain lines, exit codes and no traceback."""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from captioner.inference.find_checkpoint import BEST, LAST

NAMES = {
    "controls": "two\nlines\x1b[2Jgone\u202etxt",
    "no UTF-8": os.fsdecode(b"caf\xe9\xff"),
    "an option": "-o",
    "spaces, quotes and letters": "my runs  a'b\"c$d`e données 猫",
}
LINE = r"captioner: [\x20-\x7e\xa0-\U0010ffff]+\n"
PRINTING = ("--help", "config show", "sample run", "sample run --json", "gradcheck")
"""Commands with different ways to print."""


@pytest.fixture(autouse=True)
def _here(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own_run.parent)


@pytest.mark.parametrize("command", PRINTING)
def test_a_full_disk_on_stdout_is_an_error(command: str, shell: Callable[..., Any]) -> None:
    with open("/dev/full", "w") as full:
        done = shell(*command.split(), stdout=full)
    assert (done.returncode, done.stderr) == (1, "captioner: output: No space left on device\n")


@pytest.mark.parametrize("command", PRINTING)
def test_a_closed_pipe_on_stdout_is_no_error(command: str, shell: Callable[..., Any]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = shell(*command.split(), stdout=write)
    os.close(write)
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
    done = cli("sample", run, "-n", "1")
    assert (done.code, done.err) == (0, "")
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
