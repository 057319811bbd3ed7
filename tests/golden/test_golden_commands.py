"""The help of every command, the report of gradcheck, and the grades of a class."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Golden = Callable[[str], None]
Run = Callable[..., Any]
DOCS = Path(__file__).parents[2] / "docs"


def masked(text: str) -> str:
    """Mask what rounding decides, and so the machine: the digits of errors, and whether a direction was enough."""
    return re.sub(r"\d\.\de[-+]\d\d", "#.#e-##", text.replace("  elements   ", "  direction  "))


def test_help(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/commands.md has the exact help of each command and subcommand, in their order."""
    monkeypatch.setenv("COLUMNS", "80")
    section = re.compile(r"^## captioner ?([^\n]*)\n\n```text\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
    page = dict(section.findall((DOCS / "commands.md").read_text()))
    helps: dict[str, str] = {}

    def walk(command: str) -> None:
        helps[command] = cli(*command.split(), "--help").succeeded().out.rstrip("\n")
        if "COMMAND [ARGS]..." in helps[command]:
            for name in re.findall(r"^  ([a-z]+)  +[A-Z]", helps[command], re.MULTILINE):
                walk(f"{command} {name}".strip())

    walk("")
    assert [*page] == [*helps]
    for command, text in helps.items():
        assert page[command] == text, "if that is meant, `make docs` and read the diff"


@pytest.mark.smoke
def test_gradcheck(cli: Run, golden: Golden) -> None:
    golden(masked(cli("gradcheck").succeeded().out))


SUBMISSIONS = {
    "right": {},
    "gradient": {"dWh = prev_h.T @ da": "dWh = x.T @ da"},
    "gates": {"a_i, a_f, a_o, a_g = ": "a_f, a_i, a_o, a_g = "},
}
"""Edits of a right solution, docs/course/plain.py."""


def test_grades(cli: Run, golden: Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of a class, and the file that Gradescope reads."""
    monkeypatch.chdir(tmp_path)
    for name, edits in SUBMISSIONS.items():
        text = (DOCS / "course" / "plain.py").read_text()
        for old, new in edits.items():
            assert old in text
            text = text.replace(old, new)
        Path(f"{name}.py").write_text(text)
    Path("exits.py").write_text("exit(0)\n")
    files = (f"{name}.py" for name in (*SUBMISSIONS, "exits"))
    points = ("--require", "rnn_step,lstm_step_forward=2,affine")
    done = cli("gradcheck", *points, "--timeout", 300, "--json", "grades.jsonl", *files)
    assert (done.code, done.err) == (1, "")
    grades = "".join(
        json.dumps(json.loads(line), indent=1) + "\n" for line in Path("grades.jsonl").read_text().splitlines()
    )
    golden(masked(done.out + grades))
