"""Usage errors suggest the option or the command that was probably meant."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

OPTIONS = {
    "train --epochs 3": "No such option '--epochs'; try -o train.epochs=3",
    "train --epochs=3": "No such option '--epochs'; try -o train.epochs=3",
    "train --train.epochs 3": "No such option '--train.epochs'; try -o train.epochs=3",
    "train --epoch 3": "No such option '--epoch'; try -o train.epochs=3",
    "train --repot": "No such option '--repot'. (Did you mean one of: '--help', '--report', '--set'?)",
    "train --hidden-dim 64": "No such option '--hidden-dim'; try -o model.hidden_dim=64",
    "train --hidden_size 64": "No such option '--hidden_size'; try -o model.hidden_dim=64",
    "train --lr 1e-3": "No such option '--lr'; try -o train.learning_rate=1e-3",
    "train -lr 1e-3": "No such option '-lr'; try -o train.learning_rate=1e-3",
    "train --lr": "No such option '--lr'; try -o train.learning_rate=VALUE",
    "train --standardize --run x": "No such option '--standardize'; try -o data.standardize=true",
    "train --seed 3": "No such option '--seed'; try -o seed=3",
    "train --root a~b": "No such option '--root'; try -o 'data.root=a~b'",
    "sample run --num-beams 3": "No such option '--num-beams'; try -o decode.beam_width=3",
    "sample run --seed 3": "No such option '--seed'; try -o decode.seed=3",
    "evaluate run --beam_width 3": "No such option '--beam_width'; try -o decode.beam_width=3",
    "gradcheck --cell rnn": "No such option '--cell'; try -o model.cell=rnn",
    "config show --lr 3": "No such option '--lr'; try -o train.learning_rate=3",
    "prepare a.csv -o birds.h5": "No such option '-o'; did you mean --output birds.h5?",
    "prepare a.csv -obirds.h5": "No such option '-o'; did you mean --output birds.h5?",
    "prepare a.csv -o": "No such option '-o'; did you mean --output FILE?",
    "prepare a.csv -o min_count=2": "No such option '-o'; did you mean --min-count 2?",
    "prepare a.csv birds.h5": "Missing option '--output'; did you mean --output birds.h5?",
    "prepare birds.h5": "Missing option '--output'; did you mean --output birds.h5?",
    "prepare b/a.csv": "Missing option '--output'; try captioner prepare b/a.csv --output b.h5",
    "prepare val=a": "Missing option '--output'",
}


@pytest.mark.parametrize("command", OPTIONS)
def test_an_unknown_option_suggests_the_config_option(command: str, cli: Callable[..., Any]) -> None:
    name = command.split(" ")[0] if command.split()[0] != "config" else "config show"
    end = "" if OPTIONS[command].endswith("?") else ";"
    expected = f"captioner: {OPTIONS[command]}{end} see captioner {name} --help\n"
    assert cli(*command.split()) == (2, "", expected)


@pytest.mark.parametrize("command", ["sample run --epochs 3", "train --foo 3", "prepare a.csv --lr 3", "data --lr 3"])
def test_an_option_without_effect_is_not_suggested(command: str, cli: Callable[..., Any]) -> None:
    done = cli(*command.split())
    assert (done.code, done.out) == (2, "")
    assert "try" not in done.err


ARGUMENTS = {
    "x.h5": "did you mean --data x.h5?",
    "my.yaml": "did you mean -c my.yaml?",
    "my run.YML": "did you mean -c 'my run.YML'?",
    "train.epochs=3": "did you mean -o train.epochs=3?",
    "photos": "prepare a data set first: captioner prepare photos/captions.csv --output photos.h5",
    "photos/": "prepare a data set first: captioner prepare photos/captions.csv --output photos.h5",
    "birds": "prepare a data set first: captioner prepare birds/all.csv --output birds.h5",
    "no/": "prepare a data set first: captioner prepare no/captions.csv --output no.h5",
    "captions.json": "prepare a data set first: captioner prepare captions.json --output captions.h5",
    "run": "did you mean --resume run?",
    "run/last.h5": "did you mean --resume run?",
}


@pytest.mark.parametrize("word", ARGUMENTS)
def test_an_argument_of_train_suggests_its_option(
    word: str, cli: Callable[..., Any], own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own_run.parent)
    for folder in ("photos", "birds"):
        Path(folder).mkdir()
    Path("birds/all.csv").touch()
    done = cli("train", word)
    said = f"Got unexpected extra argument ({word}); {ARGUMENTS[word]}"
    end = "" if said.endswith("?") else ";"
    assert done == (2, "", f"captioner: {said}{end} see captioner train --help\n")


def test_prepare_of_a_folder_names_its_caption_file_or_says_what_one_looks_like(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    done = cli("prepare", "photos")
    assert done.code == 2
    assert "photos is a folder; it has no caption file: write a table captions.csv" in done.err
    Path("photos/all.csv").touch()
    command = "captioner prepare photos/all.csv --output photos.h5"
    assert f"Missing option '--output'; try {command}; see" in cli("prepare", "photos").err


def test_an_argument_of_another_command_suggests_an_override(cli: Callable[..., Any]) -> None:
    done = cli("data", "summary", "scenes", "data.scenes.train=5")
    assert "; did you mean -o data.scenes.train=5? see" in done.err


def test_any_other_argument_suggests_nothing(cli: Callable[..., Any]) -> None:
    expected = "captioner: Got unexpected extra argument (more); see captioner train --help\n"
    assert cli("train", "more") == (2, "", expected)
