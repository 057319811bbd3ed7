"""The report of the fault suite and its exit code."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import faults.__main__ as program
from benchmarks.results import insert
from faults import session as report
from faults.session import ROOT, Row


def test_reliability_page_matches_the_results() -> None:
    results = json.loads((ROOT / "faults" / "results.json").read_text())
    page = (ROOT / "docs" / "reliability.md").read_text()
    assert insert(page, report.render(results), "faults") == page, "run `make faults`"
    assert results["share"] == 1
    assert not report.has_escaped(results)


@pytest.mark.parametrize(("kind", "code"), [("refused", 0), ("silent", 1)])
def test_exit_code_is_1_if_a_fault_escapes(
    kind: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Row(fault="a", must="b", trials=1, ended={kind: 1}, notes=["trial 7: silent: so"] * code)
    monkeypatch.setitem(program.PARTS, "damaged", lambda session: iter([row]))
    output = tmp_path / "results.json"
    done = CliRunner().invoke(program.main, ["--only", "damaged", "--share", "0.01", "--output", str(output)])
    assert done.exit_code == code
    assert json.loads(output.read_text())["rows"][0]["trials"] == 1
    assert ("Escaped: a: trial 7: silent: so" in done.output) == bool(code)
