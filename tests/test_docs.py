"""Run every example in the help, the README and the guides."""

import contextlib
import io
import json
import math
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from sandbox import Sandbox

from captioner.cli import cli as root
from captioner.config import yaml_io
from captioner.data.vocabulary import SPECIAL
from captioner.files import checkpoint
from captioner.model.build import build_sizes, parameter_shapes

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COURSE = sorted(ROOT.glob("docs/course/*.md"))
GUIDES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")), ROOT / "docs/photos/README.md"]
PAGES = [*GUIDES, *COURSE]
every_page = pytest.mark.parametrize("page", PAGES, ids=[path.name for path in PAGES])


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(lines: Iterator[str]) -> Iterator[list[str]]:
    """Split lines into commands (also at `&&`), unroll loops, and split commands into words."""
    for line in lines:
        loop = re.fullmatch(r"for (\w+) in (.*); do (.*); done", line)
        unrolled = [loop[3].replace(f"${loop[1]}", value) for value in loop[2].split()] if loop else line.split(" && ")
        for command in unrolled:
            yield shlex.split(command, comments=True)


def page_commands(page: Path) -> list[list[str]]:
    """Commands of a page: the lines of its console blocks that start with `$`."""
    lines = "\n".join(blocks(page, "console")).replace("\\\n", " ").splitlines()
    return list(commands(line.removeprefix("$ ") for line in lines if line.startswith("$ ")))


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
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    sandbox.is_page = True
    for words in page_commands(page):
        if words[:1] == ["captioner"]:
            sandbox.run(words)
        elif words[:1] == ["make"]:
            assert {word for word in words[1:] if "=" not in word} <= set(targets)


@pytest.mark.parametrize("words", ["evaluate runs/flickr8k-rnn", "train --data flickr8k.h5", "sample shared.h5 a.jpg"])
def test_a_page_makes_what_it_reads(words: str, sandbox: Sandbox) -> None:
    sandbox.is_page = True
    with pytest.raises(AssertionError, match="no earlier command of the page makes it"):
        sandbox.run(["captioner", *words.split()])


@pytest.mark.filterwarnings("ignore:.*was trained on generated scenes")  # the sandbox has no other run
@pytest.mark.parametrize("page", GUIDES, ids=[path.name for path in GUIDES])
def test_python_blocks_run_in_one_namespace_per_page(page: Path, sandbox: Sandbox) -> None:
    if page.name in ("README.md", "models.md"):
        sandbox.provide_run(Path("runs/birds"))
        sandbox.provide_photo(Path("new.jpg"))
        sandbox.provide_photo(Path("holiday/beach.jpg"))
    names: dict[str, Any] = {}
    for number, block in enumerate(blocks(page, "python"), 1):
        if "import torch" in block and find_spec("torch") is None:
            continue
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


LESSONS = [page for page in COURSE if page.name[0].isdigit()]


def test_a_lesson_has_a_goal_a_short_reading_list_an_experiment_and_three_exercises() -> None:
    index = (ROOT / "docs" / "course" / "README.md").read_text()
    assert len(LESSONS) == 7
    for number, page in enumerate(LESSONS, 1):
        text = page.read_text()
        assert f"# {number}. " in text.splitlines()[0]
        assert re.search(rf"^\| \[{number}\. .*\]\({page.name}\)", index, re.MULTILINE)
        assert "**Goal.**" in text
        parts = dict(re.findall(r"^## ([^\n]*)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
        assert 3 <= len(re.findall(r"^\d\. ", parts["Read"], re.MULTILINE)) <= 5
        assert re.findall(r"^(\d)\. ", parts["Exercises"], re.MULTILINE) == ["1", "2", "3"]
        stubs = set(re.findall(r"\(exercises/(\w+)\.py\)", text))
        solution = rf"^\d\. `(?:{'|'.join(stubs)})_[^\[]+\[plain"  # without "After exercise" in front
        assert not re.search(solution, parts["Read"], re.MULTILINE), page.name
        assert any(title.startswith("Experiment") for title in parts)
        assert parts["Exercises"].count("<details><summary>Answer</summary>") == 3
        links = [LESSONS[i].name for i in (number - 2, number) if 0 <= i < 7] + ["architectures.md"] * (number == 7)
        assert re.findall(r"\(([^)]+)\)", text.rstrip().splitlines()[-1]) == [*links, "README.md"]
        assert "h_prev" not in text
        # In a notebook, code of an answer is part of a folded cell.
        assert not re.search(r"(?<!<!-- #region -->\n)<details>((?!</details>).)*```python", text, re.DOTALL)
        assert stubs == set(re.findall(rf"^\| \[(\w+)\.py\].* {number} \|$", index, re.MULTILINE)) != set()
    assert {stub.name for stub in (ROOT / "docs" / "course" / "exercises").glob("*.py")} == set(
        re.findall(r"^\| \[(\w+\.py)\]", index, re.MULTILINE)
    )


@pytest.mark.slow
def test_a_lesson_becomes_a_notebook_that_prints_what_the_page_says(tmp_path: Path) -> None:
    (recipe,) = re.findall(r"/(jupytext .*) docs/course/\[1-7\]\*\.md", (ROOT / "Makefile").read_text())
    folder = shutil.copytree(ROOT / "docs" / "course", tmp_path / "course")
    page = folder / LESSONS[0].name
    for command in (f"{recipe} {page}", f"jupyter execute --inplace {page.with_suffix('.ipynb')}"):
        subprocess.run([sys.executable, "-m", *command.split()], check=True, capture_output=True, timeout=300)
    cells = json.loads(page.with_suffix(".ipynb").read_text())["cells"]
    printed = [
        "".join(line for out in cell["outputs"] for line in out["text"]) for cell in cells if cell.get("outputs")
    ]
    assert printed == blocks(page, "text")[-len(printed) :]
    assert len(printed) > 2


def without_rounding(text: str) -> str:
    """Mask the digits of numbers below 1e-6: they are rounding, which differs between machines."""
    return re.sub(r"\d\.\de-(0[7-9]|[1-9]\d)", "#.#e-##", text)


@every_page
def test_links_exist_and_code_blocks_are_of_tested_languages_and_valid_configs(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert "://" in link or (page.parent / link).exists(), link
    fences = re.findall(r"^```(.*)$", page.read_text(), re.MULTILINE)
    assert set(fences[::2]) <= {"", "console", "python", "text", "yaml", "json"}
    assert set(fences[1::2]) <= {""}
    for block in blocks(page, "yaml"):
        yaml_io.parse(block, page.name)


@every_page
def test_an_anchor_of_a_link_is_a_heading(page: Path) -> None:
    for link, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
        headings = re.findall(r"^#+ (.*)$", ((page.parent / link) if link else page).read_text(), re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
        assert anchor in slugs, f"{link}#{anchor}"


def test_functions_that_a_page_names_with_a_file_are_in_the_file() -> None:
    named = re.compile(r"((?:`\w+`(?:,|\s+and)?\s+)+)in\s+\[[^\]]+\]\(([^)]+\.py)\)")
    places = [(page.parent / file, names) for page in PAGES for names, file in named.findall(page.read_text())]
    assert len(places) > 10
    absent = [
        (file.name, name)
        for file, names in places
        for name in re.findall(r"`(\w+)`", names)
        if not re.search(rf"^ *(?:def|class) {name}\b|^{name}\b.* = ", file.read_text(), re.MULTILINE)
    ]
    assert absent == []


def test_the_readme_or_a_page_that_it_links_shows_every_command() -> None:
    links = {ROOT / link for link in re.findall(r"\]\((docs/[\w-]+\.md)", README)}
    shown = {tuple(words[:2]) for page in (ROOT / "README.md", *links) for words in page_commands(page)}
    assert {("captioner", name) for name in root.commands} <= shown
    assert {page for page in GUIDES if page.parent == ROOT / "docs"} <= links | linked_pages(links)


def linked_pages(pages: set[Path]) -> set[Path]:
    """Return the pages that others link."""
    return {
        (page.parent / link).resolve() for page in pages for link in re.findall(r"\]\(([^)#:]+\.md)", page.read_text())
    }


def test_captions_and_labels_of_the_readme_are_those_of_the_model() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "photographs.py"))
    rendered = page["render"](README, page["captions"]())
    masked = [re.sub(r"\d+%", "#%", text) for text in (README, rendered)]  # another CPU rounds differently
    assert masked[0] == masked[1], "run `make docs`"


def test_scores_of_the_readme_are_those_of_the_results_and_of_the_card() -> None:
    """The card has the means of the sources."""
    results, head = (ROOT / "docs" / "results.md").read_text(), "| model | parameters | COCO: BLEU-4 |"
    lines = README[README.index(head) :].partition("\n\n")[0].splitlines()[2:]
    rows = {name: scores for name, _, *scores in ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)}
    for name, scores in rows.items():
        assert f"\n| {name} | {' | '.join(scores)} |" in results, name
    scores = checkpoint.load(ROOT / "models" / "everyday.h5").meta.card.scores
    coco, flickr8k = np.reshape([float(score) for score in rows["`models/everyday.h5`, re-ranked"]], (2, 2))
    np.testing.assert_allclose((coco + flickr8k) / 2, [100 * scores["bleu4"], 100 * scores["cider_d"]], atol=0.06)


CPUS = {
    "amd-epyc-zen3": "AMD EPYC (Zen 3)",
    "amd-epyc-zen4": "AMD EPYC (Zen 4)",
    "intel-xeon-6-167-amx": "Intel Xeon",
}
"""The CPUs of the README, by the names of their results."""


def test_speed_and_true_captions_of_the_readme_are_those_of_the_tables() -> None:
    text, tables = " ".join(README.split()), (ROOT / "docs" / "benchmarks.md").read_text()
    for cpu, name in CPUS.items():
        one, two = re.search(rf"([\d.]+) and ([\d.]+) on an {re.escape(name)}", text).groups()
        section = tables.partition(f"### {cpu}\n")[2].partition("### ")[0]
        assert re.search(rf"^\| geometric mean of the first ten [| ]+ {one} / {two} \|", section, re.MULTILINE), cpu
    table = (ROOT / "docs" / "course" / "architectures.md").read_text()
    rnn, lstm = (re.search(rf"^\| {name} \|.*\| ([\d.]+) .*\|$", table, re.MULTILINE)[1] for name in ("RNN", "LSTM"))
    assert f"an RNN describes {float(rnn):.0f} % of unseen combinations" in text
    assert f"an LSTM {float(lstm):.0f} %" in text


def test_the_table_of_options_is_up_to_date() -> None:
    page = (ROOT / "docs" / "config.md").read_text()
    assert runpy.run_path(str(ROOT / "docs" / "options.py"))["render"](page) == page, "run `make docs`"


def test_commands_page_equals_the_help() -> None:
    render = runpy.run_path(str(ROOT / "docs" / "commands.py"))["render"]
    assert (ROOT / "docs" / "commands.md").read_text() == render(), "run `make docs`"


def test_the_drawings_of_the_course_are_up_to_date() -> None:
    drawings = dict(runpy.run_path(str(ROOT / "docs" / "course" / "drawings.py"))["render"]())
    files = {path: path.read_text() for path in (ROOT / "docs" / "course" / "drawings").iterdir()}
    assert files == drawings, "run `make docs`"
    assert max(path.stat().st_size for path in files) < 8192


def test_the_tutorial_states_the_parameter_count() -> None:
    guide = (ROOT / "docs" / "own-photos.md").read_text()
    (words,), (stated,) = re.findall(r"captions; ([\d,]+) words", guide), re.findall(r"([\d,]+) parameters", guide)
    config = yaml_io.load(Path("photos-attention"))
    shapes = parameter_shapes(build_sizes(vars(config.model), int(words.replace(",", "")) + len(SPECIAL), 1280, 320))
    assert stated == f"{sum(math.prod(shape) for shape in shapes.values()):,}"


@pytest.mark.parametrize("name", ["docs/architecture.md", "docs/glossary.md", "CONTRIBUTING.md"])
def test_named_modules_exist(name: str) -> None:
    for path in re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", (ROOT / name).read_text()):
        assert (ROOT / "captioner" / path).exists() or (ROOT / path).exists(), path


def test_the_gains_of_reranking_are_those_of_the_table() -> None:
    results, decoding = ((ROOT / "docs" / page).read_text() for page in ("results.md", "decoding.md"))
    gains = []
    for model in ("models/everyday.h5", "everyday"):
        before, after = (
            float(re.search(rf"\n\| `{model}`, {way} \|.* (\d+\.\d) \|\n", results)[1])
            for way in ("beam of 3", "re-ranked")
        )
        gains.append(f"{after - before:.1f}")
    text = " ".join(decoding.split())
    found = re.search(r"add ([\d.]+) points of CIDEr-D to the model.*? ([\d.]+) to a transformer", text)
    assert [*found.groups()] == gains
