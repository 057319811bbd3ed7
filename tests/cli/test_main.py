"""The command line: help, version, --debug, exceptions as one line, and commands without the extras."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import captioner
from captioner.captioning.captioner import Captioner
from captioner.errors import LIBRARIES
from captioner.parallel import machine


@pytest.fixture(autouse=True)
def _here(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder has a run in `run`."""
    monkeypatch.chdir(own_run.parent)


def test_without_a_command_the_help_is_printed(cli: Callable[..., Any]) -> None:
    done = cli()
    assert (done.code, done.out + done.err) == (2, cli("--help").out)
    group = cli("config")
    assert (group.code, group.out) == (2, "")
    assert "captioner config" in group.err


def test_every_command_but_serve_asks_for_huge_pages(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for words, expected in (
        (["--help"], 0),
        (["serve", "--help"], 0),
        (["doctor"], 1),
        (["train", "--help"], 1),
    ):
        asked.clear()
        monkeypatch.setattr(machine, "use_huge_pages", lambda: asked.append("huge"))
        assert cli(*words).code == 0
        assert len(asked) == expected, words


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
    cli("sample", "--", "--debug").failed(1, "captioner: --debug: not found;")


def no_thread() -> None:
    raise RuntimeError("can't start new thread")


RAISED = {
    "interrupt": (lambda: signal.raise_signal(signal.SIGINT), 130, "\ncaptioner: interrupted\n"),
    "memory": (lambda: [0] * (1 << 61), 1, "captioner: not enough memory; try a smaller decode.beam_width\n"),
    "thread": (no_thread, 1, "captioner: cannot start a thread: not enough memory, or too many threads of this user\n"),
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


def test_huge_numbers(cli: Callable[..., Any], photo_run: Path, small_options: tuple[str, ...]) -> None:
    photo, huge = photo_run.parent / "photos" / "000.png", 2**63 - 1
    for number in (huge, huge + 1, 10**30):
        done = cli("caption", photo, "--model", photo_run, "-n", number).succeeded()
        assert done.out.count("\n") == 1
    steps = ("-o", f"train.batch_size={huge}", "-o", "train.max_steps=2")
    done = cli("train", *small_options, "--run", "new", *steps)
    assert (done.code, done.out) == (0, ""), done.err


COMMANDS = (
    "sample run", "sample run --json --write captions.csv", "evaluate run",
    "inspect gradients run --word 2",
    "train --resume run -o train.epochs=3", "prepare photos.csv --features rows.h5 --min-count 1 --val 0",
)  # fmt: skip


@pytest.mark.slow
def test_commands_need_no_extra(shell: Callable[..., Any]) -> None:
    Path("photos.csv").write_text("image,caption\na.jpg,a dog\n")
    with h5py.File("rows.h5", "w") as file:
        file["features"], file["images"] = np.ones((1, 3), np.float32), np.array([b"a.jpg"])
    code = (
        f"import sys; sys.modules |= dict.fromkeys({[*LIBRARIES]})\n"
        "from captioner.cli import cli\n"
        f"for command in {COMMANDS}:\n"
        "    assert not cli.main(command.split(), standalone_mode=False), command"
    )
    done = shell(code=code)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "rror" in line]) == (0, [])
    assert Path("captions.csv").exists()
