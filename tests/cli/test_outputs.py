"""No output replaces an input of its command, whatever its name, also with --overwrite."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

READ = "is a file that this command reads; use another file"
OTHER = "to replace, got something else; use another file"
OLD = "is in run or run.old, which --overwrite replaces; move it, or change --run"
STDOUT = "-: expected a file name; standard output is not supported here"
COMMANDS = {
    "export model.h5 --output model.h5": f"model.h5: {READ}",
    "export model.h5 --output link.h5": f"link.h5: {READ}",
    "export link.h5 --output hard.h5": f"hard.h5: {READ}",
    "prepare table.csv --output table.csv": f"table.csv: expected a data set {OTHER}",
    "sample run --write table.csv": f"table.csv: expected a table of captions with their log_prob {OTHER}",
    **{
        f"train --run run {option}{file}": f"{file.removeprefix('./')}: {OLD}"
        for option, file in (
            ("-o train.init_from=", "./run"),  # repeated after a kill, it would start from the half-trained model
            ("-o train.init_from=", "run.old/last.h5"),
            ("-o data.captions=", "run/teacher.jsonl"),
        )
    },
    "prepare table.csv --output -": STDOUT,
}


APPEARING = {
    "sample run --write": ".csv",
    "report run --output": ".html",
    "export model.h5 --output": ".h5",
    "config init": ".yaml",
}


def contents() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


@pytest.fixture
def _here(own_run: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own_run.parent)
    assert cli("export", "run", "--output", "model.h5").code == 0
    assert cli("sample", "run", "--split", "train", "--write", "run/teacher.jsonl").code == 0
    Path("table.csv").write_text("image,caption\na.jpg,a dog runs\n")
    Path("link.h5").symlink_to("model.h5")
    os.link("model.h5", "hard.h5")
    shutil.copytree("run", "run.old")


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_never_replaces_an_input(
    command: str, cli: Callable[..., Any], small_options: tuple[str, ...]
) -> None:
    before = contents()
    done = cli(*command.split(), "--overwrite", *(small_options if command.startswith("train") else ()))
    problem = done.err.replace(f"{Path.cwd()}/", "")
    assert (done.code, done.out, problem) == (2, "", f"captioner: {COMMANDS[command]}\n")
    assert contents() == before


@pytest.mark.slow
@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("command", APPEARING)
def test_a_file_that_appears_meanwhile_is_kept_and_so_is_the_result(
    command: str, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    new, beside = (Path(f"new{end}{APPEARING[command]}") for end in ("", "-2"))
    assert cli(*command.split(), new).code == 0
    expected = new.read_bytes()
    for overwrite in ([], ["--overwrite"])[: 1 if command == "config init" else 2]:
        for path in Path().glob("new*"):
            path.unlink()
        with monkeypatch.context() as patch:
            patch.setattr("captioner.files.atomic._sync", lambda path: new.write_text("mine"))
            done = cli(*command.split(), new, *overwrite)
        kept = f"a file was created there during the run, and is not replaced; the new one is {beside}\n"
        assert (done.code, done.err.endswith(kept), done.err.count("Traceback")) == (1, True, 0)
        assert (new.read_text(), beside.read_bytes()) == ("mine", expected)


@pytest.mark.usefixtures("_here")
def test_an_output_that_cannot_be_written_costs_no_other(
    cli: Callable[..., Any], shell: Callable[..., Any], files_of_at_most: Callable[[int], Any]
) -> None:
    command = ("sample", "run", "--split", "train", "--write", "new.jsonl", "--write", "new.csv")
    with files_of_at_most(10_000):
        done = cli(*command)
    assert (done.code, done.err.splitlines()[-1]) == (1, "captioner: new.jsonl: cannot write: File too large")
    assert done.out.startswith("train-00000\t")
    assert os.path.getsize("new.csv") < 10_000
    with open("/dev/full", "w") as full:
        done = shell(*command, "--overwrite", stdout=full, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert (done.returncode, done.stderr.count("captioner: output: No space left on device\n")) == (1, 1)
    assert {len(Path(name).read_text().splitlines()) for name in ("new.csv", "new.jsonl")} == {41, 40}
    done = shell(*command, "--write", "/proc/new.csv", "--overwrite")
    problem = "captioner: /proc/new.csv: cannot write: No such file or directory\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", problem), "before an image was captioned"


KILLED = """
import os, signal, sys
from pathlib import Path
import captioner.files.atomic as atomic
from captioner.cli import main
atomic._sync = lambda path: os.kill(os.getpid(), signal.SIGKILL)
main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.usefixtures("_here")
def test_the_next_write_removes_the_temporary_file_of_a_killed_command(
    shell: Callable[..., Any], cli: Callable[..., Any]
) -> None:
    for command, suffix in [*APPEARING.items()][::2]:
        words = *command.split(), f"new{suffix}"
        assert shell(*words, code=KILLED).returncode == -signal.SIGKILL
        assert len([*Path().glob(".new*.tmp")]) == 1
        assert cli(*words).code == 0
        assert [*Path().glob(".new*")] == []
