"""Usage errors suggest the option or the command that was probably meant."""

from collections.abc import Callable
from typing import Any

import pytest

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
ERRORS = {
    **{
        command: f"No such option '{next(word for word in command.split() if word[0] == '-').split('=')[0]}'; {hint}"
        for command, hint in UNKNOWN.items()
    },
    "train --profil": "No such option '--profil'. (Did you mean one of: '--config', '--mpi', '--profile'?)",
    **{
        f"train {word}": f"Got unexpected extra argument ({word}); {hint}"
        for word, hint in {
            "x.h5": "did you mean --data x.h5?",
            "my.yaml": "did you mean -c my.yaml?",
            "my~run.YML": "did you mean -c 'my~run.YML'?",
            "train.epochs=3": "did you mean -o train.epochs=3?",
        }.items()
    },
    "data show scenes data.scenes.train=5": "Got unexpected extra argument (data.scenes.train=5); did you mean -o "
    "data.scenes.train=5?",
    "train more": "Got unexpected extra argument (more)",
    "prepare a.csv": "Missing option '--output'",
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
