"""Run every example in the help, the README and the guides."""

import contextlib
import inspect
import io
import itertools
import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import plain
import pytest
from pages import COURSE, GUIDES, LESSONS, README, ROOT, blocks, commands, every_page, page_commands
from sandbox import Sandbox

from captioner.cli import cli as root


def help_commands(path: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], list[list[str]]]]:
    """Examples in the help of every command."""
    context = click.Context(command, info_name=" ".join(("captioner", *path)), **root.context_settings)
    _, _, examples = re.split(r"(Examples?:\n)", command.get_help(context))
    lines = examples.partition("\n\n")[0].splitlines()
    yield path, list(commands(line.strip() for line in lines))
    for name, subcommand in getattr(command, "commands", {}).items():
        yield from help_commands((*path, name), subcommand)


@pytest.fixture
def sandbox(
    cli: Callable[..., Any],
    small: tuple[str, ...],
    tiny_run: Path,
    write_coco: Callable[..., Path],
    attention_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Sandbox:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAPTIONER_ALBUM", "user.db")
    return Sandbox(cli, small, tiny_run, write_coco, attention_run)


HELP = dict(help_commands((), root))


@pytest.mark.parametrize("path", HELP, ids=" ".join)
def test_help_examples_run(path: tuple[str, ...], sandbox: Sandbox) -> None:
    assert HELP[path], "every command needs an example"
    for words in HELP[path]:
        assert words[: len(path) + 1] == ["captioner", *path] or words[:2] == ["captioner", "config"]
        sandbox.run(words)


@every_page
def test_page_commands_run(page: Path, sandbox: Sandbox) -> None:
    sandbox.is_page = True
    lines = page_commands(page)
    if page.name == "own-photos.md":  # test_tutorial.py runs those before serve
        lines = lines[1 + [words[1] for words in lines].index("serve") :]
    for words in lines:
        if words[:1] == ["captioner"]:
            sandbox.run(words)


@pytest.mark.parametrize(
    "words", ["evaluate runs/flickr8k-rnn", "train --data flickr8k.h5", "caption a.jpg --model shared.h5"]
)
def test_a_page_makes_what_it_reads(words: str, sandbox: Sandbox) -> None:
    sandbox.is_page = True
    with pytest.raises(AssertionError, match="no earlier command of the page makes it"):
        sandbox.run(["captioner", *words.split()])


@pytest.mark.filterwarnings("ignore:.*was trained on generated scenes")  # the sandbox has no other run
@pytest.mark.parametrize("page", GUIDES, ids=[path.name for path in GUIDES])
def test_python_blocks_run_in_one_namespace_per_page(page: Path, sandbox: Sandbox) -> None:
    if page.name in ("README.md", "models.md", "python.md"):
        sandbox.provide_run(Path("runs/birds"))
        sandbox.provide_run(Path("birds-model.h5"))
        sandbox.provide_photo(Path("new.jpg"))
        sandbox.provide_photo(Path("holiday/beach.jpg"))
    names: dict[str, Any] = {}
    for number, block in enumerate(blocks(page, "python"), 1):
        exec(compile(block, f"{page.name}, python block {number}", "exec"), names)


@pytest.mark.parametrize("page", COURSE, ids=[path.name for path in COURSE])
def test_a_text_block_of_a_lesson_is_what_the_python_block_before_it_prints(page: Path, sandbox: Sandbox) -> None:
    names: dict[str, Any] = {}
    for code, expected in re.findall(
        r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", page.read_text(), re.MULTILINE | re.DOTALL
    ):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, page.name, "exec"), names)
        assert without_rounding(printed.getvalue().rstrip()) == without_rounding(expected.rstrip())


def test_the_answer_of_lesson_6_reads_what_its_command_writes(sandbox: Sandbox) -> None:
    page, names = ROOT / "docs" / "course" / "6-attention.md", {"np": np}
    sandbox.run(page_commands(page)[-1])
    exec(blocks(page, "python")[-1], names)
    assert {0 <= mean <= 1 for mean in names["sentinel_means"]("maps.jsonl").values()} == {True}


def test_the_cells_of_an_exercise_define_and_check_its_functions(capsys: pytest.CaptureFixture[str]) -> None:
    checked = []
    for page in LESSONS:
        sources = ["".join(cell["source"]) for cell in json.loads(page.with_suffix(".ipynb").read_text())["cells"]]
        for stub, check in itertools.pairwise(sources):
            if "\ncheck(" in check:
                exec(f"{stub}\n{check}", {})
                checked += re.findall(r"(\w+)[,)]", check[check.index("\ncheck(") : check.index("#")])
                assert capsys.readouterr().out.count("not implemented") > 0
    stubs = "".join(path.read_text() for path in (ROOT / "docs" / "course" / "exercises").iterdir())
    assert sorted(checked) == sorted(re.findall(r"^def (\w+)", stubs, re.MULTILINE))


@pytest.mark.slow
def test_a_filled_in_notebook_runs_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # as in an editable installation
    page, path = LESSONS[0], tmp_path / "lesson.ipynb"
    notebook = json.loads(page.with_suffix(".ipynb").read_text())
    (stub,) = (cell for cell in notebook["cells"] if "".join(cell["source"]).startswith("# rnn_step.py"))
    stub["source"] = [
        f"import numpy as np\n{inspect.getsource(f)}\n" for f in (plain.rnn_step_forward, plain.rnn_step_backward)
    ]
    path.write_text(json.dumps(notebook))
    command = [sys.executable, "-m", "jupyter", "execute", "--inplace", path]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    cells = json.loads(path.read_text())["cells"]
    printed = [
        "".join(line for out in cell["outputs"] for line in out["text"]) for cell in cells if cell.get("outputs")
    ]
    verdicts = printed.pop(-2)  # exercise 1 is before exercise 2, which prints
    assert re.findall(r"^(\w+) +PASS", verdicts, re.MULTILINE) == ["rnn_step_forward", "rnn_step_backward"]
    assert printed == blocks(page, "text")[-len(printed) :]
    assert len(printed) > 2


def without_rounding(text: str) -> str:
    """Mask the digits of numbers below 1e-6: they are rounding, which differs between machines."""
    return re.sub(r"\d\.\de-(0[7-9]|[1-9]\d)", "#.#e-##", text)


def test_captions_of_the_readme_are_those_of_the_model() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "photographs.py"))
    assert page["render"](README, page["captions"]()) == README, "run `make docs`"
