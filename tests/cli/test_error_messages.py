"""Errors of all commands: one line on stderr, the exit code, and no changed file."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _here(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder has a run in `run`, and invalid files."""
    monkeypatch.chdir(own_run.parent)
    Path("empty").mkdir()
    Path("file").touch()
    Path("wrong.yaml").write_text("seed: 1\nmodel:\n  hiden_dim: 7\n  cell: transformer\n")
    content = Path("run/last.h5").read_bytes()
    Path("damaged.h5").write_bytes(content[:5000] + b"damage" + content[5006:])


RUN_FILES = ("best.h5", "config.yaml", "history.jsonl", "last.h5", "summary.json")
FAILURES: dict[str, tuple[int, str]] = {
    # config: one line per problem
    "train -c nope.yaml": (2, "nope.yaml: not found (captioner config init FILE writes a new one)"),
    "train -c empty": (2, "empty: expected a regular file, got a folder"),
    "train -c wrong.yaml": (
        2,
        "wrong.yaml:3: model.hiden_dim: unknown option (did you mean model.hidden_dim?)\n"
        "wrong.yaml:4: model.cell: expected rnn, lstm or gru, got transformer",
    ),
    "train -o model.hiden_dim=7": (2, "-o model.hiden_dim=7: unknown option (did you mean model.hidden_dim?)"),
    "train -o model.hidden_dim=-2": (2, "-o model.hidden_dim=-2: expected an integer >= 1, got -2"),
    "gradcheck -o nonsense": (2, "-o nonsense: expected key=value, such as model.cell=rnn"),
    "sample run -o decode.max_length=0": (2, "-o decode.max_length=0: expected an integer >= 1 and <= 1000, got 0"),
    "evaluate run -o decode.length=0": (2, "-o decode.length=0: unknown option (did you mean decode.max_length?)"),
    "train -o data.source=cs231n": (
        2, "-o data.source=cs231n: data.root: required by data.source cs231n (the folder with coco2014_captions.h5)"
    ),
    # train
    "train --run run": (
        2,
        "run: already contains a run; continue it with --resume run, choose another folder with --run, "
        "or replace the run with --overwrite",
    ),
    "train --run file": (1, "file: cannot create the run folder: File exists"),
    "train --run file/below": (1, "file/below: cannot create the run folder: Not a directory"),
    "train --run new -o validate.split=dev": (
        1,
        "validate.split: expected a split of this data set (train, val, test, heldout), got dev; "
        "try -o validate.split=train, or prepare the data set with --val 0.1",
    ),
    "train --resume nope": (
        1, "nope: last.h5 not found; expected a folder written by `captioner train`; existing runs: run"
    ),
    "train --resume file": (
        1, "file: last.h5 not found; expected a folder written by `captioner train`; existing runs: run"
    ),
    "train --resume empty": (
        1, "empty: last.h5 not found; expected a folder written by `captioner train`; existing runs: run"
    ),
    "train --resume run --overwrite": (
        2,
        "--resume uses the config and folder of the run; combine it only with -o, --mpi, --profile, --report and "
        "--images",
    ),
    "train --resume run -c wrong.yaml": (
        2,
        "--resume uses the config and folder of the run; combine it only with -o, --mpi, --profile, --report and "
        "--images",
    ),
    # checkpoints
    "sample nope": (
        1, "nope: not found; expected a run folder or a checkpoint from `captioner train`; existing runs: run"
    ),
    "sample runs": (
        1, "runs: not found; expected a run folder or a checkpoint from `captioner train`; did you mean run?"
    ),
    "sample empty": (
        1, "empty: no checkpoint found; expected best.h5 or last.h5 from `captioner train`; existing runs: run"
    ),
    "sample file": (1, "file: not a captioner checkpoint; expected a file that `captioner train` wrote"),
    "sample run/config.yaml": (
        1, "run/config.yaml: not a captioner checkpoint; expected a file that `captioner train` wrote"
    ),
    "sample damaged.h5": (1, "damaged.h5: damaged: its content does not match its seal; use another checkpoint"),
    "evaluate damaged.h5": (1, "damaged.h5: damaged: its content does not match its seal; use another checkpoint"),
    "sample run -o data.max_train=3": (
        2, "-o data.max_train: expected None as in run/best.h5, got 3; start a new run to change it"
    ),
    # options without effect
    "sample run -o train.epochs=2": (
        2,
        "-o train.epochs=2: train.epochs has no effect on sample; it uses threads, data.*, decode.*",
    ),
    "evaluate run -o model.cell=rnn -o seed=3 -o decode.beam_width=2": (
        2,
        "-o model.cell=rnn: model.cell has no effect on evaluate; it uses threads, data.*, decode.*\n"
        "-o seed=3: seed has no effect on evaluate; did you mean data.scenes.seed or decode.seed?",
    ),
    "inspect gradients run -o decode.beam_width=2": (
        2, "-o decode.beam_width=2: decode.beam_width has no effect on inspect gradients; it uses data.*"
    ),
    "data summary scenes -o train.epochs=2": (
        2, "-o train.epochs=2: train.epochs has no effect on data summary; it uses seed, data.*"
    ),
    "train -o data.root=birds.h5": (
        2,
        "-o data.root=birds.h5: data.root: has no effect with data.source scenes, only with cs231n or prepared",
    ),
    # data
    "sample run --split dev": (1, "split 'dev': not found; this data set has train, val, test, heldout"),
    "evaluate run --split dev": (1, "split 'dev': not found; this data set has train, val, test, heldout"),
    "sample run --features damage.h5": (
        1, "damage.h5: not found; expected an HDF5 file with the dataset 'features'; did you mean damaged.h5?"
    ),
    "sample run --features empty": (1, "empty: expected a regular file, got a folder"),
    "sample run --features file": (1, "file: expected an HDF5 file, got one that begins with b''"),
}  # fmt: skip


@pytest.mark.smoke
@pytest.mark.parametrize("command", FAILURES)
def test_an_error_is_one_line(command: str, cli: Callable[..., Any], small_options: tuple[str, ...]) -> None:
    code, message = FAILURES[command]
    before = {name: Path("run", name).read_bytes() for name in RUN_FILES}
    fresh = command.startswith("train --run")
    done = cli(*command.split(), *(small_options if fresh else ()))
    assert done.err == "".join(f"captioner: {line}\n" for line in message.split("\n"))
    assert (done.code, done.out) == (code, "")
    assert {name: Path("run", name).read_bytes() for name in RUN_FILES} == before
    assert not Path("new").exists()


@pytest.mark.parametrize(
    "command",
    [
        ("sample", ""),
        ("sample", "run", ""),
        ("sample", "run", "--features", ""),
        ("evaluate", "run", "--coco", ""),
        ("train", "--run", ""),
        ("train", "-c", ""),
        ("prepare", "photos", "--output", ""),
        ("config", "check", ""),
    ],
)
def test_an_empty_path_is_not_the_current_folder(command: tuple[str, ...], cli: Callable[..., Any]) -> None:
    done = cli(*command)
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(
        r"captioner: Invalid value for .*: expected a path, got an empty text; see .* --help\n", done.err
    )
