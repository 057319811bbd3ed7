"""The pages of the documentation, their code blocks and their commands."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COURSE = sorted(ROOT.glob("docs/course/*.md"))
GUIDES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")), ROOT / "docs/photos/README.md"]
PAGES = [*GUIDES, *COURSE]
every_page = pytest.mark.parametrize("page", PAGES, ids=[path.name for path in PAGES])
LESSONS = [page for page in COURSE if page.name[0].isdigit()]


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
