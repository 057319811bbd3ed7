"""captioner config: init, schema, show and check."""

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from captioner.cli.config import config
from captioner.config.options import Config
from captioner.config.schema import json_schema
from captioner.config.shipped import shipped
from captioner.config.yaml_io import load, parse
from captioner.errors import CaptionerError, ConfigError, UsageError, printable


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


@pytest.mark.smoke
def test_init_writes_the_defaults_with_comments() -> None:
    result = run("init")
    assert result.exit_code == 0
    assert parse(result.stdout, "-") == Config()
    assert result.stdout.count("#") > 40


def test_init_replaces_no_file() -> None:
    assert run("init", "my.yaml").stdout == ""
    assert Path("my.yaml").read_text() == run("init").stdout
    Path("my.yaml").write_text("seed: 3")
    error = failure("init", "my.yaml")
    assert isinstance(error, UsageError)
    assert str(error) == "my.yaml: exists already; name a new file"
    assert Path("my.yaml").read_text() == "seed: 3"


@pytest.mark.parametrize("name", shipped())
def test_init_copies_a_shipped_config(name: str) -> None:
    assert run("init", "--from", name, "my.yaml").exit_code == 0
    assert Path("my.yaml").read_text() == shipped()[name].read_text() == run("init", "--from", name).stdout


def test_init_of_an_unknown_config() -> None:
    unknown = "not shipped with captioner"
    assert str(failure("init", "--from", "photo", "my.yaml")) == f"config 'photo': {unknown} (did you mean photos?)"
    assert str(failure("init", "--from", "")) == f"config '': {unknown} (captioner config list prints the names)"
    assert not Path("my.yaml").exists()


def test_list_prints_name_and_description_of_each_config() -> None:
    lines = run("list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == sorted(shipped())
    assert "photos            LSTM for your own photographs and captions, prepared by `captioner prepare`" in lines


def test_init_writes_to_stdout_for_a_dash() -> None:
    assert run("init", "-").stdout == run("init").stdout
    assert not Path("-").exists()


def test_init_reports_a_failed_write() -> None:
    assert str(failure("init", "absent/my.yaml")) == "absent/my.yaml: cannot write: No such file or directory"


def test_schema_is_written_to_a_new_file_or_stdout() -> None:
    assert run("schema", "config.schema.json").stdout == ""
    text = Path("config.schema.json").read_text()
    assert text == run("schema").stdout == run("schema", "-").stdout
    assert json.loads(text) == json_schema()
    assert str(failure("schema", "config.schema.json")) == "config.schema.json: exists already; name a new file"


def test_init_names_the_schema_relative_to_the_new_file() -> None:
    Path("below").mkdir()
    Path("a.json").touch()
    for file, path in (("my.yaml", "a.json"), ("below/my.yaml", "../a.json"), ("-", "a.json")):
        written = run("init", file, "--schema", "a.json").stdout or Path(file).read_text()
        assert written == f"# yaml-language-server: $schema={path}\n{run('init').stdout}"
        assert parse(written, file) == Config()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("absent.json", "file not found; write it with captioner config schema absent.json"),
        *(
            (name, "expected a path without spaces, # and control characters")
            for name in ("a b.json", "#.json", "\x1b.json")
        ),
    ],
)
def test_a_schema_that_cannot_be_named(name: str, problem: str) -> None:
    if name != "absent.json":
        Path(name).touch()
    error = failure("init", "my.yaml", "--schema", name)
    assert isinstance(error, UsageError)
    assert str(error) == f"--schema {printable(name)}: {problem}"
    assert not Path("my.yaml").exists()


@pytest.mark.smoke
def test_show_prints_the_effective_config() -> None:
    Path("my.yaml").write_text("seed: 3\nmodel: {cell: rnn}\n")
    result = run("show", "-c", "my.yaml", "-o", "train.epochs=2", "--set", "seed=4")
    Path("shown.yaml").write_text(result.stdout)
    assert load(Path("shown.yaml")) == load(Path("my.yaml"), ["train.epochs=2", "seed=4"])
    assert "#" not in result.stdout
    assert run("show").stdout == "".join(re.sub(r" +#.*", "", line) for line in run("init").stdout.splitlines(True)[1:])


@pytest.mark.smoke
def test_check_reports_all_problems_or_ok() -> None:
    Path("my.yaml").write_text("seed: 3\n")
    assert run("check", "my.yaml").stdout == "my.yaml: ok\n"
    Path("my.yaml").write_text("seed: -3\nsede: 3\n")
    error = failure("check", "my.yaml", "-o", "model.cell=transformer")
    assert isinstance(error, ConfigError)
    assert error.exit_code == 2
    assert error.problems == (
        "my.yaml:1: seed: expected an integer >= 0, got -3",
        "my.yaml:2: sede: unknown option (did you mean seed?)",
        "-o model.cell=transformer: expected rnn, lstm or gru, got transformer",
    )


def test_check_of_a_file_name_that_is_not_utf_8() -> None:
    name = "caf\udce9.yaml"
    Path(name).write_text("")
    assert run("check", name).exit_code == 0


@pytest.mark.parametrize("name", [None, *config.commands])
def test_the_example_in_every_help_runs(name: str | None) -> None:
    result = run(*filter(None, [name]), "--help")
    examples = [line.strip() for line in result.stdout.splitlines() if line.strip().startswith("captioner ")]
    assert examples
    for command in " && ".join(examples).split(" && "):
        program, group, *args = shlex.split(command)
        assert (program, group) == ("captioner", "config")
        assert run(*args).exit_code == 0
