"""Read what students hand in: Python files, and notebooks, of which only definitions are executed."""

from __future__ import annotations

import ast
import copy
import json
import os
import re
import symtable
import textwrap
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from captioner.errors import UsageError
from captioner.files.user_files import read_bytes

MAX_TEXT = 1 << 18
"""The maximum bytes of a Python file, and characters of the code cells of a notebook."""
MAX_NOTEBOOK = 1 << 26
"""The maximum bytes of a notebook with its outputs."""
SAVE_AGAIN = "open it in Jupyter and save it, or hand in the file that captioner.cs231n.notebook.save writes"
MAGIC = re.compile(r"^([ \t]*)(?:\w[\w, ]*=[ \t]*)?(?:%\w|!(?!=)|\?|[\w.]+\?{1,2}[ \t]*$).*", re.MULTILINE)
"""A line of a notebook that is not Python: a magic, a command of the shell or a question."""
OF_PYTHON = re.compile(r"\s*%%(?:time|capture|prun)\b.*")
"""The first line of a cell whose others are executed as usual."""
NUMPY = "import numpy as np"
"""The first import of every notebook, also of one that lacks it."""
ADDED = "in no cell"
"""The place of a line that no cell has."""
PARSER_ERRORS = (SyntaxError, ValueError, RecursionError, MemoryError)


class Definition(NamedTuple):
    """A statement at the top level that binds or changes names: a definition, an import, an assignment, a loop."""

    names: frozenset[str]
    uses: frozenset[str]
    """The global names that it reads, also when a function is called."""
    node: ast.stmt


class Submission(NamedTuple):
    """The code of a file."""

    path: Path
    text: bytes
    definitions: Sequence[Definition] = ()
    places: Sequence[str] = ()
    """Of a notebook, the cell and the line of each line of the text."""
    remark: str = ""
    """The first code cell of a notebook that is not Python, as the end of a reason."""

    def names(self) -> set[str]:
        """Return the names that the file defines, without those that it imports."""
        own = (each.names for each in self.definitions if not isinstance(each.node, ast.Import | ast.ImportFrom))
        return set().union(*own)

    def needed(self, names: Iterable[str]) -> set[str]:
        """Return names and what their definitions use, directly or not."""
        return needed(self.definitions, names)

    def placed(self, problem: str) -> str:
        """Replace the line at the end of a problem of a notebook by its cell and line."""
        found = re.search(r" \(line (\d+)\)$", problem)
        if found and 0 < int(found[1]) <= len(self.places):
            return f"{problem[: found.start()]} ({self.places[int(found[1]) - 1]})"
        return problem


def read_submission(path: Path, graded: Sequence[str]) -> Submission:
    """Read a Python file, or of a notebook the definitions of the functions that are `graded`, and what these use.

    Raises: UsageError.
    """
    is_notebook = path.suffix == ".ipynb"
    content = read_code(path, MAX_NOTEBOOK if is_notebook else MAX_TEXT)
    if is_notebook or re.match(rb'\s*\{\s*"(cells|metadata|nbformat)"', content):
        return of_cells(path, _code_cells(path, content), graded)
    if b"\0" in content:
        raise UsageError(f"{path}: expected text, got NUL bytes, such as those of UTF-16; save it as UTF-8")
    try:
        return Submission(path, content, [*_definitions(_parsed(content))])
    except PARSER_ERRORS:  # reported when it is executed
        return Submission(path, content)


def of_cells(path: Path, cells: Sequence[str], graded: Sequence[str]) -> Submission:
    """Select the statements that bind what functions that are `graded` read, and what these statements read."""
    statements, lines, places, remark = list[ast.stmt](), list[bytes](), list[str](), ""
    for number, source in enumerate(cells, 1):
        try:
            code, of_cell = _of_cell(source)
        except PARSER_ERRORS as error:  # the cell cannot be executed in a notebook, either
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
            remark = remark or f"; code cell {number}{line} is not Python: {getattr(error, 'msg', error)}"
            continue
        statements += [ast.increment_lineno(node, len(lines)) for node in of_cell]
        lines += code.encode().split(b"\n")
        places += [f"code cell {number}, line {i + 1}" for i in range(len(lines) - len(places))]
    definitions = [*_definitions(statements)]
    used = {*needed(definitions, graded), "*"}
    selected = [own for own in definitions if own.names & used]
    first = next((own for own in selected if "np" in own.names), None)
    if first and ast.unparse(first.node) == NUMPY:  # it would be written twice
        selected.remove(first)
    rows = [(b"from __future__ import annotations", ADDED), (NUMPY.encode(), ADDED)]
    rows += [row for own in selected for row in _rows(own.node, lines, places)]
    text = b"\n".join([*(line for line, _ in rows), b""])
    return Submission(path, text, definitions, [place for _, place in rows], remark)


def read_code(path: Path, limit: int = MAX_TEXT) -> bytes:
    """Read a file that is no link. Raises: UsageError."""
    if os.path.islink(path):  # such as one to the solution
        raise UsageError(f"{path}: expected a file, got a link; copy what it links to")
    return read_bytes(path, limit, UsageError, "a Python file or notebook")


def needed(definitions: Iterable[Definition], names: Iterable[str]) -> set[str]:
    """Return names and what their definitions use, directly or not."""
    places = defaultdict(list)
    for definition in definitions:
        for name in definition.names:
            places[name].append(definition)
    found, seen, queue = set[str](), set[int](), [*names]
    for name in queue:
        found.add(name)
        for definition in places.pop(name, ()):
            if id(definition) not in seen:  # it may bind many names
                seen.add(id(definition))
                queue += definition.uses
    return found


def _parsed(source: str | bytes) -> list[ast.stmt]:
    """Return the statements of a text that can be compiled. Raises: the types of PARSER_ERRORS."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
        compile(tree, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    return tree.body


def _definitions(statements: Iterable[ast.stmt]) -> Iterator[Definition]:
    for node in statements:
        if not isinstance(node, ast.Import | ast.ImportFrom):
            if names := _changed(node):
                yield Definition(names, _read(symtable.symtable(ast.unparse(node), "", "exec")), node)
        elif getattr(node, "module", "") != "__future__":  # which must be first
            for alias in node.names:  # one by one: others may be missing
                one = copy.copy(node)
                one.names = [alias]
                yield Definition(frozenset({(alias.asname or alias.name).partition(".")[0]}), frozenset(), one)


def _changed(node: ast.stmt) -> frozenset[str]:
    """Return the names that a statement binds, or whose elements and attributes it assigns."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return frozenset({node.name})
    table = symtable.symtable(ast.unparse(node), "", "exec")
    names = {each.get_name() for each in table.get_symbols() if each.is_assigned() or each.is_imported()}
    for part in ast.walk(node):
        if isinstance(part, ast.Subscript | ast.Attribute) and isinstance(part.ctx, ast.Store):
            names |= {each.id for each in ast.walk(part.value) if isinstance(each, ast.Name)}
    return frozenset(names)


def _read(scope: symtable.SymbolTable) -> frozenset[str]:
    """Return the global names that the code of a scope reads or changes, also in its functions."""
    is_module = scope.get_type() == "module"
    own = {each.get_name() for each in scope.get_symbols() if (is_module and each.is_referenced()) or each.is_global()}
    return frozenset(own.union(*map(_read, scope.get_children())))


def _code_cells(path: Path, content: bytes) -> list[str]:
    """Return the sources of the code cells of a notebook. Raises: UsageError."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"{path}: expected a notebook, a JSON file: {error}; {SAVE_AGAIN}") from None
    match document:
        case {"nbformat": 4, "cells": [*cells]} if all(isinstance(cell, dict) for cell in cells):
            sources = [cell.get("source") for cell in cells if cell.get("cell_type") == "code"]
        case _:
            raise UsageError(f"{path}: expected a notebook with cells, of nbformat 4; {SAVE_AGAIN}")
    for i, source in enumerate(sources, 1):
        lines = source if isinstance(source, list) else [source]
        if not all(isinstance(line, str) for line in lines):
            raise UsageError(f"{path}: code cell {i}: expected a source of text; {SAVE_AGAIN}")
        sources[i - 1] = re.sub("\r\n?", "\n", "".join(lines))
    if sum(map(len, sources)) > MAX_TEXT:
        raise UsageError(f"{path}: expected at most {MAX_TEXT:,} characters in its code cells; delete other cells")
    return sources


def _of_cell(source: str) -> tuple[str, list[ast.stmt]]:
    """Return the Python code of a cell, with the same lines, and its statements. Raises: the types of PARSER_ERRORS."""
    if source.lstrip().startswith("%%"):
        first, _, others = source.partition("\n")
        source = f"\n{others}" if OF_PYTHON.match(first) else ""
    try:
        return source, _parsed(source)
    except SyntaxError:
        source = MAGIC.sub(r"\1pass", textwrap.dedent(source))  # IPython executes indented cells, too
        return source, _parsed(source)


def _rows(node: ast.stmt, lines: Sequence[bytes], places: Sequence[str]) -> Iterator[tuple[bytes, str]]:
    """Yield the lines of a statement and their places, without other statements on the same lines."""
    first, last = node.lineno, node.end_lineno or node.lineno
    if isinstance(node, ast.Import | ast.ImportFrom):  # of one of its names
        yield ast.unparse(node).encode(), places[first - 1]
        return
    first = min([first, *(part.lineno for part in getattr(node, "decorator_list", ()))])
    for i in range(first - 1, last):
        end = node.end_col_offset if i == last - 1 else None
        yield lines[i][node.col_offset if i == first - 1 else 0 : end], places[i]
