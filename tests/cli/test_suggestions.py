"""Usage errors suggest the option or the command that was probably meant."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _here(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder has a run in `run`, and folders with and without captions."""
    monkeypatch.chdir(own_run.parent)
    for folder in ("photos", "birds"):
        Path(folder).mkdir()
    Path("birds/all.csv").touch()


UNKNOWN = {
    "train --epochs 3": "try -o train.epochs=3",
    "train --epochs=3": "try -o train.epochs=3",
    "train --train.epochs 3": "try -o train.epochs=3",
    "train --epoch 3": "try -o train.epochs=3",
    "train --hidden-dim 64": "try -o model.hidden_dim=64",
    "train --learning_rate 1e-3": "try -o train.learning_rate=1e-3",
    "train --learning-rate": "try -o train.learning_rate=VALUE",
    "train --standardize --run x": "try -o data.standardize=true",
    "train --seed 3": "try -o seed=3",
    "train --root a~b": "try -o 'data.root=a~b'",
    "sample run --seed 3": "try -o decode.seed=3",
    "evaluate run --beam_width 3": "try -o decode.beam_width=3",
    "gradcheck --decoder rnn": "try -o model.decoder=rnn",
    "config show --epochs 3": "try -o train.epochs=3",
}
"""What is suggested for the first option of a command that is unknown."""
PREPARE = "prepare a data set first: captioner prepare"
ERRORS = {
    **{
        command: f"No such option '{next(word for word in command.split() if word[0] == '-').split('=')[0]}'; {hint}"
        for command, hint in UNKNOWN.items()
    },
    "train --profil": "No such option '--profil'. (Did you mean one of: '--config', '--mpi', '--profile'?)",
    "prepare a.csv -o birds.h5": "No such option '-o'; did you mean --output birds.h5?",
    "prepare a.csv -obirds.h5": "No such option '-o'; did you mean --output birds.h5?",
    "prepare a.csv -o": "No such option '-o'; did you mean --output FILE?",
    "prepare a.csv -o min_count=2": "No such option '-o'; did you mean --min-count 2?",
    "prepare a.csv birds.h5": "Missing option '--output'; did you mean --output birds.h5?",
    "prepare birds.h5": "Missing option '--output'; did you mean --output birds.h5?",
    "prepare b/a.csv": "Missing option '--output'; try captioner prepare b/a.csv --output b.h5",
    "prepare birds": "Missing option '--output'; try captioner prepare birds/all.csv --output birds.h5",
    "prepare val=a": "Missing option '--output'",
    **{
        f"train {word}": f"Got unexpected extra argument ({word}); {hint}"
        for word, hint in {
            "x.h5": "did you mean --data x.h5?",
            "my.yaml": "did you mean -c my.yaml?",
            "my~run.YML": "did you mean -c 'my~run.YML'?",
            "train.epochs=3": "did you mean -o train.epochs=3?",
            "photos": f"{PREPARE} photos/captions.csv --output photos.h5",
            "photos/": f"{PREPARE} photos/captions.csv --output photos.h5",
            "birds": f"{PREPARE} birds/all.csv --output birds.h5",
            "no/": f"{PREPARE} no/captions.csv --output no.h5",
            "captions.json": f"{PREPARE} captions.json --output captions.h5",
            "run": "did you mean --resume run?",
            "run/last.h5": "did you mean --resume run?",
        }.items()
    },
    "data show scenes data.scenes.train=5": "Got unexpected extra argument (data.scenes.train=5); did you mean -o "
    "data.scenes.train=5?",
    "train more": "Got unexpected extra argument (more)",
    # an option without effect is not suggested
    "sample run --epochs 3": "No such option '--epochs'",
    "train --foo 3": "No such option '--foo'",
    "prepare a.csv --lr 3": "No such option '--lr'. (Did you mean one of: '--help', '--list', '--val'?)",
    "data --lr 3": "No such option '--lr'. Did you mean '--help'?",
}


@pytest.mark.parametrize("command", ERRORS)
def test_a_usage_error_suggests_what_was_meant(command: str, cli: Callable[..., Any]) -> None:
    words = command.split(" ")
    name = " ".join(words[: 2 if words[:2] in (["config", "show"], ["data", "show"]) else 1])
    message = ERRORS[command]
    end = "" if message.endswith("?") else ";"
    assert cli(*words) == (2, "", f"captioner: {message}{end} see captioner {name} --help\n")


@pytest.mark.parametrize(
    ("word", "meant"),
    {"tran": "train", "capton": "sample", "caption": "sample", "fit": "train", "scores": "evaluate"}.items(),
)
def test_an_unknown_command_suggests_the_one_that_was_meant(word: str, meant: str, cli: Callable[..., Any]) -> None:
    problem = f"No such command '{word}'; did you mean captioner {meant}?"
    assert cli(word) == (2, "", f"captioner: {problem} see captioner --help\n")


def test_prepare_of_a_folder_without_captions_describes_a_caption_file(cli: Callable[..., Any]) -> None:
    cli("prepare", "photos").failed(2, "photos is a folder; it has no caption file: write a table captions.csv")
