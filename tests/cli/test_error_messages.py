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
    Path("empty.csv").mkdir()
    Path("data.h5").write_bytes(b"captioner data set 2")
    Path("file").touch()
    Path("new.jpg").write_bytes(b"\xff\xd8\xff")
    Path("old.csv").touch()
    Path("mine.CSV").write_text("mine")
    Path("wrong.yaml").write_text("seed: 1\nmodel:\n  hiden_dim: 7\n  dtype: half\n")
    content = Path("run/last.h5").read_bytes()
    Path("damaged.h5").write_bytes(content[:5000] + b"damage" + content[5006:])


RUN_FILES = ("best.h5", "config.yaml", "history.jsonl", "last.h5")
CONFIG = {
    "train -c nope.yaml": "nope.yaml: not found (captioner config init FILE writes a new one)",
    "train -c empty": "empty: expected a regular file, got a folder",
    "train -c wrong.yaml": "wrong.yaml:3: model.hiden_dim: unknown option (did you mean model.hidden_dim?)\n"
    "wrong.yaml:4: model.dtype: expected float32 or float64, got half",
    "train -o model.hidden_dim=-2": "-o model.hidden_dim=-2: expected an integer >= 1, got -2",
    "gradcheck -o nonsense": "-o nonsense: expected key=value, such as model.decoder=rnn",
    "evaluate run -o decode.length=0": "-o decode.length=0: unknown option (did you mean decode.max_length?)",
    "train -o data.source=cs231n": "-o data.source=cs231n: data.root: required by data.source cs231n (the folder with "
    "coco2014_captions.h5)",
    "sample run -o decode.suppress_words=a,dg": "decode.suppress_words: expected words of the vocabulary, got dg",
    "sample run -o decode.top_k=5": "-o decode.top_k=5: decode.top_k: has no effect without decode.method sampling "
    "(set that, or leave this at null)",
    "sample run -o data.max_train=3": "-o data.max_train: expected None as in run/best.h5, got 3; start a new run to "
    "change it",
    # options without effect
    "sample run -o train.epochs=2": "train.epochs has no effect on sample; it uses threads, data.*, decode.*, "
    "caption.*",
    "sample run --features new.h5 -o data.scenes.seed=3": "data.scenes.seed: has no effect: the data set of the run is "
    "not read",
    "evaluate run -o data.captions=teacher.jsonl": "data.captions has no effect on evaluate; only train uses it",
    "evaluate run -o model.decoder=rnn -o seed=3 -o decode.beam_width=2": "model.decoder has no "
    "effect on evaluate; it uses threads, data.*, decode.*\n"
    "seed has no effect on evaluate; it uses threads, data.*, decode.*",
}
RESUME = "--resume uses the config and folder of the run; combine it only with -o and --mpi"
ONE_INPUT = "--split (with or without --data) and --features exclude each other; use one of them"
OVERWRITE = "--overwrite needs --write"
FOR_PHOTOGRAPHS = "expected a run or a model file; for photographs, use captioner caption"
WRITE = "expected a name that ends in .csv"
USAGE = CONFIG | {
    "train --run run": "run: already contains a run; continue it with --resume run, choose another folder with --run, "
    "or replace the run with --overwrite",
    "train --resume run --overwrite": RESUME,
    "train --resume run -c wrong.yaml": RESUME,
    "train --resume run --overfit 3": RESUME,
    "train --resume-or-start new --overwrite": "--resume-or-start sets the run folder; leave out --run, --resume, "
    "--overfit and --overwrite",
    "train --data empty": "empty: expected a file of `captioner prepare`; write one: captioner prepare "
    "empty/captions.csv",
    "train --data mine.CSV": "mine.CSV: expected a file of `captioner prepare`; write one: captioner prepare mine.CSV",
    "train --resume run/last.h5": "run/last.h5: expected a run folder, got a file; try --resume run",
    "sample run run/last.h5": "got 2 runs; use one, or average their word probabilities with --ensemble",
    "sample --ensemble run": "--ensemble needs several runs",
    "sample new.jpg run": f"new.jpg: {FOR_PHOTOGRAPHS} new.jpg --model run",
    "sample run --features new.h5 --split train": ONE_INPUT,
    "sample run --features new.h5 --data new.h5": ONE_INPUT,
    "sample run --data empty": "empty: expected a file written by `captioner prepare`, a folder of CS231n's assignment "
    "3, or scenes; to use caption files, prepare a data set from them",
    "sample run --write xmp": f"--write xmp: {WRITE} or .jsonl",
    "sample run --write -": f"--write -: {WRITE} or .jsonl",
    "sample run --write no/table.csv": "no/table.csv: folder not found: no",
    "sample run --write empty.csv": "empty.csv: expected a file name, got a folder",
    "sample run --write new.csv --write ./new.csv": "--write: name each output once",
    "sample run --attention": "--attention needs --json or --write FILE.jsonl",
    "sample run --n-best 0": "Invalid value for '--n-best': expected an integer >= 1 and <= 100, got 0; see "
    "captioner sample --help",
    "sample run --overwrite": OVERWRITE,
    "sample run --write old.csv": "old.csv: exists already; use another file, or replace it with --overwrite",
    "sample run --write mine.CSV --overwrite": "mine.CSV: expected a table of captions with their log_prob to replace, "
    "got something else; use another file",
    "caption new.jpg run": "run: expected a photograph or a folder, got a model; did you mean captioner caption "
    "new.jpg --model run?",
    "caption new.jpg --model run --model run/last.h5": "got 2 models; use one, or average their word probabilities "
    "with --ensemble",
    "caption new.jpg --ensemble": "--ensemble needs several --model",
    "caption new.jpg --verbose": "--verbose needs --write",
    "caption new.jpg --attention --write a.csv": "--attention needs --json, or --write FILE.html",
    "caption new.jpg --write a.csv --write ./a.csv": "a.csv: given twice; name each output once",
    "caption new.jpg --write old": f"old: {WRITE} or .html, or xmp, lightroom",
    "caption new.jpg --model run -o data.memory_mib=2": "data.memory_mib has no effect on caption; it uses threads, "
    "decode.*, caption.*",
    "train --run file": "file: expected a folder for the run, got something else; choose another with --run",
}
NO_RUN = "last.h5 not found; expected a folder written by `captioner train`; existing runs: run"
NO_MODEL = "not a captioner model, got {}; expected a file that `captioner train` or `export` wrote"
DAMAGED = "damaged.h5: damaged: its content does not match its checksum; use another model"
DEV = "split 'dev': not found; this data set has train, val, test, heldout"
FAILURES = {
    "train --run file/below": "file/below: cannot create the run folder: Not a directory",
    "train --run new -o validate.split=dev": "validate.split: expected a split of this data set (train, val, test, "
    "heldout), got dev; try -o validate.split=train, or prepare the data set with --val 0.1",
    "train --resume nope": f"nope: {NO_RUN}",
    "train --resume empty": f"empty: {NO_RUN}",
    "sample nope": "nope: not found; expected a run folder from `captioner train` or a model file; existing runs: run",
    "sample runs": "runs: not found; expected a run folder from `captioner train` or a model file; did you mean run?",
    "sample empty": "empty: no checkpoint found; expected best.h5 or last.h5 from `captioner train`; existing runs: "
    "run",
    "sample file": f"file: {NO_MODEL.format('an empty file')}",
    "sample data.h5": f"data.h5: {NO_MODEL.format('a captioner data set, for `captioner train --data`')}",
    "sample run/config.yaml": f"run/config.yaml: {NO_MODEL.format('a text file')}",
    "sample run/bst.h5": "run/bst.h5: not found; expected a run folder from `captioner train` or a model file; did you "
    "mean run/best.h5?",
    "sample damaged.h5": DAMAGED,
    "caption new.jpg --model nope": "nope: not found; expected a run folder from `captioner train` or a model file; "
    "existing runs: run",
    "sample run --split dev": DEV,
    "sample run --features damage.h5": "damage.h5: not found; expected an HDF5 file with the dataset 'features'; did "
    "you mean damaged.h5?",
    "sample run --features empty": "empty: expected a regular file, got a folder",
    "sample run --features file": "file: expected an HDF5 file, got an empty file",
    "sample run --attention --json": "run/best.h5: attention maps: expected a model with attention, got "
    "model.attention none; train with -o model.attention=adaptive",
}


@pytest.mark.smoke
@pytest.mark.parametrize("command", [*USAGE, *FAILURES])
def test_an_error_is_one_line(command: str, cli: Callable[..., Any], small_options: tuple[str, ...]) -> None:
    code, message = (2, USAGE[command]) if command in USAGE else (1, FAILURES[command])
    before = {name: Path("run", name).read_bytes() for name in RUN_FILES}
    done = cli(*command.split(), *(small_options if command.startswith("train --run") else ()))
    assert done.err == "".join(f"captioner: {line}\n" for line in message.split("\n"))
    assert (done.code, done.out) == (code, "")
    assert {name: Path("run", name).read_bytes() for name in RUN_FILES} == before
    assert not {"new", "a.csv"} & {path.name for path in Path().iterdir()}


CLICK = {
    "--foo": "--foo",
    "tran": "tran",
    "output": "No such command 'output'; see captioner --help\n",  # a module, but no command
    "train --run": "--run",
    "sample": "RUN_OR_MODEL",
    "caption": "PHOTO_OR_FOLDER",
    "sample run -n 0": "-n",
    "sample run --n-best -1": "got -1",
}


@pytest.mark.smoke
@pytest.mark.parametrize("command", CLICK)
def test_a_usage_error_is_one_line_that_quotes_the_argument(command: str, cli: Callable[..., Any]) -> None:
    done = cli(*command.split())
    done.failed(2, CLICK[command])
    assert done.err.endswith("--help\n")


def test_an_unknown_flag_with_the_name_of_a_config_option_suggests_it(cli: Callable[..., Any]) -> None:
    for command, path in {
        "train --epochs 3": "train.epochs",
        "train --learning-rate=3": "train.learning_rate",
        "sample run --seed 3": "decode.seed",
        "config show --decoder rnn": "model.decoder",
    }.items():
        flag = next(word for word in command.split() if word[0] == "-").partition("=")[0]
        cli(*command.split()).failed(2, f"No such option '{flag}'; try -o {path}=VALUE; see captioner ")
    for command in ("sample run --epochs 3", "doctor --epochs 3"):
        cli(*command.split()).failed(2, "No such option '--epochs'; see captioner ")


@pytest.mark.parametrize(
    "command",
    ["sample @", "sample run @", "sample run --features @", "sample run --write @", "train --run @", "train -c @",
     "prepare photos --output @"],
)  # fmt: skip
def test_an_empty_path_is_not_the_current_folder(command: str, cli: Callable[..., Any]) -> None:
    done = cli(*(word.replace("@", "") for word in command.split()))
    done.failed(2, ": expected a path, got an empty text; see ")
    assert re.fullmatch(r"captioner: Invalid value for .* --help\n", done.err)
