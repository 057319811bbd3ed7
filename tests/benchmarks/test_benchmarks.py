"""Each benchmark runs, its results are kept by CPU, and the page shows them."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import benchmarks.__main__ as program
from benchmarks import results, tables
from benchmarks.session import ROOT

BENCHMARKS = tuple(program.BENCHMARKS)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_benchmark_runs_and_is_reported(name: str, tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    done = CliRunner().invoke(
        program.main, ["--quick", "--only", name, "--output", str(output)], catch_exceptions=False
    )
    found = json.loads(output.read_text())
    assert done.exit_code == 0
    assert found[name]
    assert found["measured"].keys() == {name}
    assert found["measured"][name]["machine"]["NumPy"].startswith(np.__version__)
    assert tables.render(found, with_targets=False) in done.output
    assert f"`python -m benchmarks --only {name}`" in done.output
    assert "**Targets**" not in done.output, "no targets for tiny sizes"
    assert done.output.count("\n| ") >= 2, "a table with a row"


def test_the_page_shows_the_results() -> None:
    page, block = (ROOT / tables.PAGE).read_text(), tables.render_page(results.load_all(ROOT / "benchmarks"))
    begin, end = results.marks()
    assert f"{begin}\n{block}\n{end}" in page, f"{tables.PAGE}: run `python -m benchmarks --page`"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose benchmarks measure nothing and have one table each."""
    monkeypatch.setattr(program, "ROOT", tmp_path)
    monkeypatch.setattr(program, "build_corpus", lambda config: None)
    monkeypatch.setattr(program.machine, "kind", lambda cpu: "amd-epyc-zen4")
    for name in BENCHMARKS:
        monkeypatch.setitem(program.BENCHMARKS, name, lambda session, name=name: {"of": name})
        monkeypatch.setitem(tables.TABLES, name, tables.TABLES[name]._replace(write=lambda found: iter([str(found)])))
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / tables.PAGE).write_text("\n".join(("before", *results.marks(), "after", "")))
    return tmp_path


def run(*words: str) -> None:
    assert CliRunner().invoke(program.main, words, catch_exceptions=False).exit_code == 0


@pytest.mark.parametrize("words", [("--page", "--only", "steps"), ("--output", "missing/results.json")], ids=" ".join)
def test_a_wrong_option_ends_before_anything_is_measured(words: tuple[str, ...], project: Path) -> None:
    for name in BENCHMARKS:
        program.BENCHMARKS[name] = lambda session: pytest.fail("measured")
    assert CliRunner().invoke(program.main, words).exit_code == 2


def test_a_quick_run_is_not_saved(project: Path) -> None:
    before = (project / tables.PAGE).read_text()
    run("--quick")
    assert not list((project / "benchmarks").iterdir())
    assert (project / tables.PAGE).read_text() == before


def test_results_of_benchmarks_that_did_not_run_are_kept(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    monkeypatch.setitem(program.BENCHMARKS, "steps", lambda session: {"of": "steps, again"})
    run("--only", "steps")
    found = json.loads((project / "benchmarks" / "results-amd-epyc-zen4.json").read_text())
    assert found.keys() == found["measured"].keys() | {"kind", "measured"}
    assert found["measured"].keys() == set(BENCHMARKS)
    assert [found[name]["of"] for name in ("steps", "growth")] == ["steps, again", "growth"]
    page = (project / tables.PAGE).read_text()
    assert page.startswith("before\n")
    assert page.endswith("\nafter\n")
    assert all(str(found[name]) in page for name in BENCHMARKS)


def test_another_cpu_has_its_own_file_and_keeps_the_table_of_steps(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    file = project / "benchmarks" / "results-amd-epyc-zen4.json"
    earlier = json.loads(file.read_text().replace(program.machine.describe()["on"], "2026-01-01"))
    results.write(file, earlier)
    monkeypatch.setattr(program.machine, "kind", lambda cpu: "intel-xeon-6-143-amx")
    for name in BENCHMARKS:
        monkeypatch.setitem(program.BENCHMARKS, name, lambda session, name=name: {"on Intel": name})
    run()
    assert json.loads(file.read_text()) == earlier
    page = (project / tables.PAGE).read_text()
    intel, amd = page.partition("### amd-epyc-zen4")[::2]
    assert all(str({"on Intel": name}) in intel for name in BENCHMARKS), "all tables of the CPU measured last"
    assert str({"of": "steps"}) in amd
    assert str({"of": "growth"}) not in amd
    monkeypatch.setattr(program, "measure", lambda session, names: pytest.fail("measured"))
    run("--page")
    assert (project / tables.PAGE).read_text() == page


def test_insert_replaces_only_the_text_between_the_marks() -> None:
    begin, end = results.marks()
    page = f"before\n{begin}\nold\n{end}\nafter\n"
    assert results.insert(page, "new") == page.replace("old", "new")
    assert results.insert("no marks\n", "new") == "no marks\n"
