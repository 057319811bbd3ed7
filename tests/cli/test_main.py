"""The command line: usage errors, help, version, --debug, exceptions as one line, and commands without the extras."""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import captioner
from captioner.errors import LIBRARIES
from captioner.inference.captioner import Captioner

PIECE = r"[^\n]*"


@pytest.fixture(autouse=True)
def _here(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder has a run in `run`."""
    monkeypatch.chdir(own_run.parent)


USAGE_ERRORS = {
    "--foo": "--foo",
    "tran": "tran",
    "train --foo": "--foo",
    "train more": "more",
    "train --run": "--run",
    "sample": "RUN_OR_CHECKPOINT",
    "sample run -n 0": "-n",
    "sample run -n many": "many",
    "config": "captioner config",
}


@pytest.mark.smoke
@pytest.mark.parametrize("command", USAGE_ERRORS)
def test_a_usage_error_exits_with_2_and_quotes_the_argument(command: str, cli: Callable[..., Any]) -> None:
    done = cli(*command.split())
    assert (done.code, done.out) == (2, "")
    assert USAGE_ERRORS[command] in done.err


@pytest.mark.parametrize("command", [command for command in USAGE_ERRORS if command != "config"])
def test_a_usage_error_is_one_line(command: str, cli: Callable[..., Any]) -> None:
    assert re.fullmatch(rf"captioner: {PIECE}--help{PIECE}\n", cli(*command.split()).err)


def test_without_a_command_the_help_is_printed(cli: Callable[..., Any]) -> None:
    done = cli()
    assert done.code == 2
    assert done.out + done.err == cli("--help").out


def test_the_version(cli: Callable[..., Any]) -> None:
    assert cli("--version") == (0, f"captioner, version {captioner.__version__}\n", "")


@pytest.mark.parametrize("place", [0, 1, 2])
def test_debug_prints_the_traceback_wherever_it_stands(place: int, cli: Callable[..., Any]) -> None:
    words = ["sample", "no\x1b[2Jpe"]
    done = cli(*words[:place], "--debug", *words[place:])
    assert (done.code, done.out) == (1, "")
    first, *_, last = done.err.splitlines()
    assert first == "Traceback (most recent call last):"
    assert last.startswith("captioner.errors.CheckpointError: no\\x1b[2Jpe: ")
    assert "in find_checkpoint" in done.err
    assert done.err.replace("\n", "").isprintable()


def test_after_two_hyphens_debug_is_a_name(cli: Callable[..., Any]) -> None:
    done = cli("sample", "--", "--debug")
    assert (done.code, done.err.partition(";")[0]) == (1, "captioner: --debug: not found")


RAISED = {
    "interrupt": (lambda: signal.raise_signal(signal.SIGINT), 130, "\ncaptioner: interrupted\n"),
    "memory": (
        lambda: [0] * (1 << 61),
        1,
        "captioner: not enough memory; try a smaller train.batch_size",
    ),
    "file": (Path("/nowhere/x").read_text, 1, "captioner: /nowhere/x: No such file or directory\n"),
    "system": (
        lambda: os.close(-1),
        1,
        "captioner: a system call failed: Bad file descriptor; try --debug for the traceback\n",
    ),
}


@pytest.mark.parametrize("name", RAISED)
def test_exceptions_become_one_line(name: str, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    act, code, message = RAISED[name]
    monkeypatch.setattr(Captioner, "decode", lambda *_, **__: act())
    done = cli("sample", "run")
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(message)


HUGE = 2**63 - 1


def test_huge_numbers(cli: Callable[..., Any], photo_run: Path, small_options: tuple[str, ...]) -> None:
    photo = photo_run.parent / "photos" / "000.png"
    for number in (HUGE, HUGE + 1, 10**30):
        done = cli("sample", photo_run, photo, "-n", number).succeeded()
        assert done.out.count("\n") == 1
    done = cli(
        "train", *small_options, "--run", "new", "-o", f"train.batch_size={HUGE}",
        "-o", "train.max_steps=2",
    )  # fmt: skip
    assert (done.code, done.out) == (0, ""), done.err
    done = cli("data", "summary", "scenes", "-o", "data.scenes.train=1000000000000")
    assert done.err == (
        "captioner: -o data.scenes.train=1000000000000: expected an integer >= 1 and <= 100000, got 1000000000000\n"
    )


HIDDEN = (*LIBRARIES, "threadpoolctl")
COMMANDS = (
    ("sample", "run"),
    ("sample", "run", "--json", "--coco", "captions.json"),
    ("evaluate", "run", "--baseline", "nn"),
    ("inspect", "gradients", "run", "--word", "2"),
    ("data", "show", "scenes", "-o", "data.scenes.train=9", "-n", "1"),
    ("train", "--resume", "run", "-o", "train.epochs=3"),
)


def test_commands_need_no_extra(shell: Callable[..., Any], own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own_run.parent)
    code = (
        f"import sys; sys.modules |= dict.fromkeys({HIDDEN})\n"
        "from captioner.cli import cli\n"
        f"for command in {COMMANDS}:\n"
        "    assert not cli.main([*command], standalone_mode=False), command"
    )
    done = shell(code=code)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "rror" in line]) == (0, [])
    assert Path("captions.json").exists()
