"""captioner config: init, list and show."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioner.config.yaml_io import load, parse, shipped


@pytest.fixture
def config(cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`captioner config` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: cli("config", *words)


@pytest.mark.smoke
def test_init_writes_the_defaults_with_comments(config: Callable[..., Any]) -> None:
    text = config("init").succeeded().out
    assert parse(text, "-") == parse("", "-")
    assert text.count("#") > 40
    assert config("init", "-") == (0, text, "")
    assert config("init", "my.yaml") == (0, "", "my.yaml: written\n")
    assert Path("my.yaml").read_text() == text
    assert [path.name for path in Path().iterdir()] == ["my.yaml"]


@pytest.mark.parametrize("name", shipped())
def test_init_copies_a_shipped_config(name: str, config: Callable[..., Any]) -> None:
    assert config("init", "--from", name, "my.yaml").code == 0
    assert Path("my.yaml").read_text() == shipped()[name].read_text() == config("init", "--from", name).out


FAILURES = {
    "init absent/my.yaml": (1, "absent/my.yaml: cannot write: No such file or directory"),
    "init old.yaml": (2, "old.yaml: exists already; use a new file"),
    "init --from photo my.yaml": (2, "photo: not found (did you mean photos?)"),
}


@pytest.mark.parametrize("command", FAILURES)
def test_a_file_that_cannot_be_written_or_copied(command: str, config: Callable[..., Any]) -> None:
    Path("old.yaml").write_text("seed: 3")
    code, message = FAILURES[command]
    assert config(*command.split()) == (code, "", f"captioner: {message}\n")
    assert not Path("my.yaml").exists()
    assert Path("old.yaml").read_text() == "seed: 3"


def test_list_prints_name_and_description_of_each_config(config: Callable[..., Any]) -> None:
    lines = config("list").succeeded().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(shipped())
    assert "photos Your own photographs, 10 to 3,000: starts from the model that comes with captioner" in [
        " ".join(line.split()) for line in lines
    ]


@pytest.mark.smoke
def test_show_prints_the_effective_config(config: Callable[..., Any]) -> None:
    Path("my.yaml").write_text("seed: 3\nmodel: {decoder: rnn}\n")
    shown = config("show", "-c", "my.yaml", "-o", "train.epochs=2", "--set", "seed=4").succeeded().out
    Path("shown.yaml").write_text(shown)
    assert load(Path("shown.yaml")) == load(Path("my.yaml"), {"train.epochs": 2, "seed": 4})
    assert "#" not in shown
    defaults = config("init").out.splitlines(True)[1:]
    expected = "".join(re.sub(r" +#.*", "", line) for line in defaults)
    assert config("show").out == expected.replace("best_metric: null", "best_metric: loss")


@pytest.mark.smoke
def test_show_reports_all_problems(config: Callable[..., Any]) -> None:
    Path("my.yaml").write_text("seed: -3\nsede: 3\n")
    assert config("show", "-c", "my.yaml") == (
        2,
        "",
        "captioner: my.yaml:1: seed: expected an integer >= 0, got -3\n"
        "captioner: my.yaml:2: sede: unknown option (did you mean seed?)\n",
    )
    message = "captioner: -o model.dtype=half: expected float32 or float64, got half\n"
    assert config("show", "-o", "model.dtype=half") == (2, "", message)
