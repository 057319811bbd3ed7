"""Write the lessons as notebooks with cells for the exercises: docs/course/[1-7]*.ipynb, or others without answers."""

from __future__ import annotations

import argparse
import ast
import json
import re
import shutil
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

COURSE = Path(__file__).resolve().parent

SETUP = """\
# Run this cell first. The other cells run in the folder of captioner.
import os
from pathlib import Path

import captioner

folders = [Path.cwd(), *Path.cwd().parents, Path(captioner.__file__).parents[1]]
root = next((folder for folder in folders if (folder / "docs/course/plain.py").is_file()), None)
if root is None:
    raise FileNotFoundError("docs/course/plain.py: not found; open this notebook in the folder of captioner")
os.chdir(root)
"""

INTRODUCTION = """\
Open this notebook in Jupyter or an editor with the Python of `make install` ([setup](README.md#setup)). Work in a copy
beside it. The text below a cell is what it prints. A command after `$` runs in a terminal, or in a cell with `!`
instead of `$`."""


def cells(page: Path, with_answers: bool) -> Iterator[tuple[str, str]]:
    """Yield the type and the source of each cell: text, code, and below an exercise its stub and a check."""
    title, text = page.read_text().split("\n", 1)
    convert = str if with_answers else unlinked
    yield "markdown", convert(f"{title}\n\n{INTRODUCTION}")
    yield "code", SETUP
    # an answer, with its code, is one cell, so that it can be folded
    for part in re.split(r"(^<details>.*?^</details>$)", text, flags=re.MULTILINE | re.DOTALL):
        if part.startswith("<details>"):
            if with_answers:
                yield "markdown", part
            continue
        for i, source in enumerate(re.split(r"^```python\n(.*?)^```$", part, flags=re.MULTILINE | re.DOTALL)):
            if source.strip():
                yield ("code", source) if i % 2 else ("markdown", convert(source))
        for stub in dict.fromkeys(re.findall(r"\(exercises/(\w+)\.py\)", part)):
            yield from fill_in(COURSE / "exercises" / f"{stub}.py")


def fill_in(stub: Path) -> Iterator[tuple[str, str]]:
    """Yield a cell with the functions of an exercise, and one that checks them."""
    source = stub.read_text()
    first, *others = ast.parse(source).body
    names = [node.name for node in others if isinstance(node, ast.FunctionDef)]
    code = "".join(source.splitlines(keepends=True)[first.end_lineno :]).strip()
    yield "code", f"# {stub.name}: write the functions, run this cell, then the check below.\n{code}"
    functions = ", ".join(names)
    code = f"from captioner.cs231n.notebook import check, save\n\ncheck({functions})\n"
    yield "code", f'{code}# to hand them in: save("{stub.stem}.py", {functions})'


def unlinked(text: str) -> str:
    """Replace links to files, which a handout does not contain, by their texts. Drawings, which it contains, stay."""
    text = re.sub(r"^\*\[(previous|next)\].*\*$", "", text, flags=re.MULTILINE)
    return re.sub(r"(?<!!)\[([^][]*)\]\((?!https?:|#)[^)]*\)", r"\1", text)


def notebook(page: Path, with_answers: bool) -> str:
    """Return a notebook as JSON. The id of a cell is a hash of its text, so it changes with the cell alone."""
    written: list[dict[str, Any]] = []
    for kind, source in cells(page, with_answers):
        source = source.strip("\n")
        outputs: dict[str, Any] = {"execution_count": None, "outputs": []} if kind == "code" else {}
        name = sha256(source.encode()).hexdigest()[:12]
        lines = source.splitlines(keepends=True)
        written.append({"cell_type": kind, "id": name, "metadata": {}, **outputs, "source": lines})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    document = {"cells": written, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def render(with_answers: bool = True) -> Iterator[tuple[Path, str]]:
    """Yield the path and the text of each notebook."""
    for page in sorted(COURSE.glob("[1-7]-*.md")):
        yield page.with_suffix(".ipynb"), notebook(page, with_answers)


def was_run(path: Path) -> bool:
    """Return whether a notebook has been executed, so that it may contain work of a reader."""
    return path.exists() and bool(re.search(r'"execution_count": \d', path.read_text()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without-answers", type=Path, metavar="FOLDER", help="a folder for notebooks without answers")
    folder = parser.parse_args().without_answers
    written = [((folder or COURSE) / path.name, text) for path, text in render(with_answers=folder is None)]
    if used := [path.name for path, _ in written if was_run(path)]:
        sys.exit(f"notebooks.py: {', '.join(used)}: not replaced, because it was executed; rename or delete it")
    if folder:
        shutil.copytree(COURSE / "drawings", folder / "drawings", dirs_exist_ok=True)
    for path, text in written:
        path.write_text(text)
