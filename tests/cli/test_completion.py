"""Shell completion of overrides and run folders."""

import os
import pty
import select
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import FishComplete, ShellComplete, ZshComplete, get_completion_class

from captioner.cli import cli as root
from captioner.cli.completion import Bash
from captioner.config.option_table import options


def completed(args: list[str], incomplete: str, kind: type[ShellComplete] = ZshComplete) -> list[str]:
    shell = kind(root, {}, "captioner", "_CAPTIONER_COMPLETE")
    return [item.value for item in shell.get_completions(args, incomplete)]


@pytest.mark.parametrize(
    ("command", "count"),
    [(["train"], 8), (["config", "show"], 8), (["sample", "run"], 0), (["gradcheck", "--full"], 7)],
)
@pytest.mark.parametrize("option", ["-o", "--set"])
def test_the_keys_that_a_command_uses_are_completed_with_their_descriptions(
    command: list[str], count: int, option: str
) -> None:
    shell = FishComplete(root, {}, "captioner", "_CAPTIONER_COMPLETE")
    helps = {item.value: item.help for item in shell.get_completions([*command, option], "model.")}
    docs = {f"{option.path}=": option.doc for option in options()}
    assert helps == {key: docs[key] for key in helps}
    assert sum(key.startswith(("model.d", "model.c")) for key in helps) == count


def test_every_key_is_completed() -> None:
    assert completed(["train", "-o"], "") == [f"{option.path}=" for option in options()]
    assert completed(["train", "-o"], "no.such") == []


@pytest.mark.parametrize(
    ("incomplete", "values"),
    [
        ("model.decoder=", ["rnn", "lstm", "gru", "transformer"]),
        ("model.decoder=l", ["lstm"]),
        ("data.standardize=", ["true", "false"]),
        ("train.patience=", ["null"]),
        ("train.update_rule=sgd", ["sgd", "sgd_momentum"]),
        ("train.epochs=", []),
        ("no.such=", []),
    ],
)
def test_values_of_choices_and_booleans_are_completed(incomplete: str, values: list[str]) -> None:
    key = incomplete.partition("=")[0]
    assert completed(["train", "-o"], incomplete) == [f"{key}={value}" for value in values]
    assert completed(["train"], f"--set={incomplete}") == [f"{key}={value}" for value in values]


def test_run_folders_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("runs/scenes/best.h5", "runs/birds/last.h5", "runs/empty/config.yaml", "other/run/last.h5"):
        Path(name).parent.mkdir(parents=True)
        Path(name).touch()
    for args in (["train", "--resume"], ["inspect", "gradients"], ["inspect", "gradients", "runs/birds"]):
        assert completed(args, "") == ["runs/birds", "runs/scenes"]
        assert completed(args, "runs/s") == ["runs/scenes"]
        assert completed(args, "other/") == ["other/run"]
    shell = ZshComplete(root, {}, "captioner", "_CAPTIONER_COMPLETE")
    for incomplete in ("runs/scenes/", "absent/x", "oth"):
        (item,) = shell.get_completions(["train", "--resume"], incomplete)
        assert (item.value, item.type) == (incomplete, "file")


@pytest.mark.parametrize(
    ("line", "word", "expected"),
    [
        ("captioner train -o model.de", "model.de", ["plain,model.decoder="]),
        ("captioner train -o model.decoder=", "", ["plain,rnn", "plain,lstm", "plain,gru", "plain,transformer"]),
        ("captioner train -o model.decoder=r", "r", ["plain,rnn"]),
        ("captioner train --set=model.decoder=r", "r", ["plain,rnn"]),
        ("captioner train --set=model.de", "model.de", ["plain,model.decoder="]),
        ("captioner train -o seed=3 -o model.decoder=r", "r", ["plain,rnn"]),
        # `=` is not a break character
        ("captioner train -o model.decoder=r", "model.decoder=r", ["plain,model.decoder=rnn"]),
        ("captioner train --ove", "--ove", ["plain,--overfit", "plain,--overwrite"]),
        ("captioner data sum", "sum", ["plain,summary"]),
        ("captioner train -c ", "", ["file,"]),
    ],
)
def test_bash_gets_the_part_of_the_word_that_it_replaces(
    line: str, word: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get_completion_class("bash") is Bash
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_WORD", word)
    assert Bash(root, {}, "captioner", "_CAPTIONER_COMPLETE").complete().splitlines() == expected


SESSIONS = {
    "bash": (["--norc", "--noprofile", "-i"], b""),
    "zsh": (["-f", "-i"], b"autoload -Uz compinit && compinit -D\n"),
}
"""Options and first line of interactive shells without start-up files."""


@pytest.mark.parametrize("name", SESSIONS)
def test_a_key_and_its_value_are_completed_in_a_shell(name: str, tmp_path: Path) -> None:
    """Type a line with tabs into an interactive shell, which runs it."""
    if shutil.which(name) is None:
        pytest.skip(f"needs {name}")
    program = tmp_path / "captioner"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m captioner "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PS1": "$ ", "TERM": "dumb"}
    options, first = SESSIONS[name]
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe(name, [name, *options], environment)
    try:
        os.write(terminal, first + f'eval "$(_CAPTIONER_COMPLETE={name}_source captioner)"\necho "re"ady\n'.encode())
        _read_until(terminal, "\nready")
        os.write(terminal, b"captioner config show -o model.de\tr\t | grep decoder\n")
        _read_until(terminal, "  decoder: rnn")
    finally:
        os.close(terminal)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _read_until(terminal: int, text: str) -> None:
    shown, end = "", time.monotonic() + 60
    while text not in shown and time.monotonic() < end:
        if select.select([terminal], [], [], 1)[0]:
            shown += os.read(terminal, 4096).decode()
    assert text in shown, shown


def test_completion_loads_nothing_heavy(shell: Callable[..., Any]) -> None:
    """The words are those of a shell with click's own script."""
    code = (
        "import atexit, sys; from captioner.cli import main\n"
        "heavy = {'numpy', 'h5py', 'yaml', 'tqdm'}\n"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules)), file=sys.stderr))\n"
        "main()"
    )
    environment = {"_CAPTIONER_COMPLETE": "bash_complete", "COMP_WORDS": "captioner train -o seed", "COMP_CWORD": "3"}
    done = shell(code=code, env={**os.environ, **environment})
    assert (done.returncode, done.stdout, done.stderr) == (0, "plain,seed=\n", "[]\n")
