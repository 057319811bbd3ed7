"""Pages of the documentation: generated parts are up to date, and links, anchors and names exist."""

import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import GUIDES, LESSONS, PAGES, README, ROOT, blocks, every_page, page_commands

from captioner.cli import cli as root
from captioner.config import yaml_io


def test_a_lesson_is_in_the_index_with_its_exercises() -> None:
    index = (ROOT / "docs" / "course" / "README.md").read_text()
    for number, page in enumerate(LESSONS, 1):
        text = page.read_text()
        assert re.search(rf"^\| \[{number}\. .*\]\({page.name}\)", index, re.MULTILINE)
        stubs = set(re.findall(r"\(exercises/(\w+)\.py\)", text))
        assert stubs == set(re.findall(rf"^\| \[(\w+)\.py\].* {number} \|$", index, re.MULTILINE)) != set()
    assert {stub.name for stub in (ROOT / "docs" / "course" / "exercises").glob("*.py")} == set(
        re.findall(r"^\| \[(\w+\.py)\]", index, re.MULTILINE)
    )


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


def test_targets_of_make_in_pages_and_workflows_exist() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    lines = [
        line for path in (*ROOT.glob(".github/*/*.yml"), *ROOT.glob(".ci/*")) for line in path.read_text().split("\n")
    ]
    for page in PAGES:
        lines += "".join(blocks(page, "console")).split("\n")
        prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        lines += [" ".join(text.split()) for text in re.findall(r"`([^`]+)`", prose)]
    commands = [
        found[1] for line in lines if (found := re.match(r"(?:[-$] |run: |user |\w+=\S+ )*make (.*)", line.strip()))
    ]
    plain = (re.sub(r"""\w+=("[^"]*"|'[^']*'|\S+)|#.*""", "", command) for command in commands)
    named = [word for words in plain for word in re.findall(r"(?:^|(?<=\s))[a-z][\w-]*", words)]
    assert len(named) > 40
    assert set(named) <= set(targets)


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


@pytest.mark.parametrize("name", ["docs/architecture.md", "docs/glossary.md", "CONTRIBUTING.md"])
def test_named_modules_exist(name: str) -> None:
    for path in re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", (ROOT / name).read_text()):
        assert (ROOT / "captioner" / path).exists() or (ROOT / path).exists(), path


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


def test_the_table_of_options_is_up_to_date() -> None:
    page = (ROOT / "docs" / "config.md").read_text()
    assert runpy.run_path(str(ROOT / "docs" / "options.py"))["render"](page) == page, "run `make docs`"


def test_the_drawings_of_the_course_are_up_to_date() -> None:
    drawings = dict(runpy.run_path(str(ROOT / "docs" / "course" / "drawings.py"))["render"]())
    files = {path: path.read_text() for path in (ROOT / "docs" / "course" / "drawings").iterdir()}
    assert files == drawings, "run `make docs`"
    assert max(path.stat().st_size for path in files) < 8192


def test_the_notebooks_of_the_course_are_valid_and_up_to_date() -> None:
    import nbformat  # of nbclient, which the smoke tests do not install

    notebooks = dict(runpy.run_path(str(ROOT / "docs" / "course" / "notebooks.py"))["render"]())
    assert [path.stem for path in notebooks] == [page.stem for page in LESSONS]
    assert {path: path.read_text() for path in (ROOT / "docs" / "course").glob("[1-7]-*.ipynb")} == notebooks, (
        "run `make docs`"
    )
    for text in notebooks.values():
        nbformat.validate(nbformat.reads(text, 4))  # also that the ids of cells differ
        links = links_of(text)
        assert len(links) > 5
        assert all((ROOT / "docs" / "course" / link).is_file() for link in links), links


def links_of(notebook: str) -> list[str]:
    """Return the links of a notebook to files."""
    sources = ("".join(cell["source"]) for cell in json.loads(notebook)["cells"] if cell["cell_type"] == "markdown")
    return [link for source in sources for link in re.findall(r"\]\(([^)#]+)", source) if "://" not in link]


def test_an_executed_notebook_is_not_replaced(tmp_path: Path) -> None:
    for name in ("notebooks.py", "1-one-time-step.md", "1-one-time-step.ipynb"):
        shutil.copy(ROOT / "docs" / "course" / name, tmp_path)
    for name in ("exercises", "drawings"):
        shutil.copytree(ROOT / "docs" / "course" / name, tmp_path / name)
    mine = tmp_path / "1-one-time-step.ipynb"
    mine.write_text(mine.read_text().replace('"execution_count": null', '"execution_count": 1', 1))
    before = mine.read_text()
    done = subprocess.run([sys.executable, tmp_path / "notebooks.py"], capture_output=True, text=True, check=False)
    assert (done.returncode, mine.read_text()) == (1, before)
    assert "1-one-time-step.ipynb: not replaced, because it was executed" in done.stderr
    command = [sys.executable, tmp_path / "notebooks.py", "--without-answers", tmp_path / "handout"]
    subprocess.run(command, check=True)
    handout = (tmp_path / "handout" / mine.name).read_text()
    assert ("<details>" in before, "<details>" in handout, "check(" in handout) == (True, False, True)
    assert links_of(handout) == ["drawings/step.svg"]
    assert (tmp_path / "handout" / "drawings" / "step.svg").is_file()
