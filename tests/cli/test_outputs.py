"""No output replaces an input of its command, whatever its name, also with --overwrite."""

import os
import shutil
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
