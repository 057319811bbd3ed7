"""captioner config init, show and check."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from captioner.cli.config import config
from captioner.config.options import Config
from captioner.config.yaml_io import load, parse
from captioner.errors import CaptionerError, ConfigError, UsageError


def run(*args: str) -> Result:
    return CliRunner().invoke(config, args)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def failure(*args: str) -> CaptionerError:
    result = run(*args)
    assert result.stdout == ""
    assert isinstance(result.exception, CaptionerError)
    return result.exception


def test_init_writes_the_defaults_with_comments() -> None:
    result = run("init")
    assert result.exit_code == 0
    assert parse(result.stdout, "-") == Config()
    assert result.stdout.count("#") > 40


def test_init_writes_a_new_file_and_no_other() -> None:
    assert run("init", "my.yaml").stdout == ""
    assert Path("my.yaml").read_text() == run("init").stdout
    Path("my.yaml").write_text("seed: 3")
    refused = failure("init", "my.yaml")
    assert isinstance(refused, UsageError)
    assert str(refused) == "my.yaml: exists already and is left as it is; name a new file"
    assert Path("my.yaml").read_text() == "seed: 3"


def test_init_writes_to_stdout_for_a_dash() -> None:
    assert run("init", "-").stdout == run("init").stdout
    assert not Path("-").exists()


def test_init_says_why_it_cannot_write() -> None:
    assert str(failure("init", "absent/my.yaml")) == "absent/my.yaml: cannot be written: No such file or directory"


def test_show_is_the_effective_config() -> None:
    Path("my.yaml").write_text("seed: 3\nmodel: {cell: rnn}\n")
    result = run("show", "-c", "my.yaml", "-o", "train.epochs=2", "--set", "seed=4")
    Path("shown.yaml").write_text(result.stdout)
    assert load(Path("shown.yaml")) == load(Path("my.yaml"), ["train.epochs=2", "seed=4"])
    assert "#" not in result.stdout
    assert run("show").stdout == "".join(re.sub(r" +#.*", "", line) for line in run("init").stdout.splitlines(True)[1:])


def test_check_says_ok_or_every_problem() -> None:
    Path("my.yaml").write_text("seed: 3\n")
    assert run("check", "my.yaml").stdout == "my.yaml: ok\n"
    Path("my.yaml").write_text("seed: -3\nsede: 3\n")
    error = failure("check", "my.yaml", "-o", "model.cell=gru")
    assert isinstance(error, ConfigError)
    assert error.exit_code == 2
    assert error.problems == (
        "my.yaml:1: seed: expected an integer >= 0, got -3",
        "my.yaml:2: sede: unknown option (did you mean seed?)",
        "-o model.cell=gru: expected rnn or lstm, got gru",
    )


def test_check_of_a_name_that_cannot_be_printed() -> None:
    name = "caf\udce9.yaml"
    Path(name).write_text("")
    assert run("check", name).exit_code == 0


@pytest.mark.parametrize("name", [None, *config.commands])
def test_the_example_in_every_help_runs(name: str | None) -> None:
    result = run(*filter(None, [name]), "--help")
    (example,) = (line.strip() for line in result.stdout.splitlines() if line.strip().startswith("captioner "))
    for command in example.split(" && "):
        program, group, *args = shlex.split(command)
        assert (program, group) == ("captioner", "config")
        assert run(*args).exit_code == 0


def test_every_parameter_has_help_or_is_named_in_it() -> None:
    for command in config.commands.values():
        for parameter in command.params:
            told = (
                parameter.help
                if isinstance(parameter, click.Option)
                else parameter.name in (command.help or "").lower()
            )
            assert told, f"{command.name}: {parameter.name}"


def test_the_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from captioner.cli.config import config; config(['--help'], standalone_mode=False);"
        "print(sorted({'numpy', 'yaml', 'h5py', 'tqdm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
