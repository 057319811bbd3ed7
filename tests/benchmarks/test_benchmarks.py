"""Each benchmark runs, its results are kept by CPU, and the page shows them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import benchmarks.__main__ as program
from benchmarks import results, shapes, tables
from benchmarks.session import ROOT

BENCHMARKS = tuple(program.BENCHMARKS)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_benchmark_runs_and_is_reported(name: str, tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    done = CliRunner().invoke(program.main, ["--quick", "--only", name, "--output", output], catch_exceptions=False)
    measured = json.loads(output.read_text())
    assert done.exit_code == 0
    assert measured[name]
    assert measured["measured"].keys() == {name}
    assert measured["measured"][name]["machine"]["NumPy"].startswith(np.__version__)
    assert tables.render(measured) in done.output
    assert f"`python -m benchmarks --only {name}`" in done.output
    assert done.output.count("\n| ") >= 2, "a table with a row"


def test_the_page_shows_the_results() -> None:
    page, block = (ROOT / tables.PAGE).read_text(), tables.render_page(results.load_all(ROOT / "benchmarks"))
    begin, end = results.marks()
    assert f"{begin}\n{block}\n{end}" in page, f"{tables.PAGE}: run `python -m benchmarks --page`"


def test_the_last_row_of_the_steps_has_geometric_means_without_bfloat16() -> None:
    def race(ours: float, **others: float) -> dict[str, Any]:
        return {name.replace("_", " "): {"median": took} for name, took in {"ours": ours, **others}.items()}

    peers = {"torch_eager": 2.0, "torch_packed": 1.0, "bfloat16": 0.1, "floor": 0.6}
    steps = {
        shape.key: {"threads": {"1": race(0.7, **peers)}, "loops": {"1": race(0.7, loops=3.0)}} for shape in shapes.COCO
    }
    steps["rnn-64-10000"]["threads"]["1"] = race(1.4, **peers)
    (table,) = tables.TABLES["steps"].write(steps)
    best = 0.7 * 2**0.1
    assert [cell for cell in table.splitlines()[-1].split(" | ") if cell][1:4] == [
        f"{best:.2f}",
        f"{best / 2:.2f}",
        f"{3 / 0.7:.2f}",
    ]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose benchmarks measure nothing and have one table each."""
    monkeypatch.setattr(program, "ROOT", tmp_path)
    monkeypatch.setattr(program, "build_corpus", lambda config: None)
    monkeypatch.setattr(program.machine, "kind", lambda cpu: "amd-epyc-zen4")
    for name in BENCHMARKS:
        monkeypatch.setitem(program.BENCHMARKS, name, lambda session, name=name: {"of": name})
        write = tables.TABLES[name]._replace(write=lambda results: iter([str(results)]))
        monkeypatch.setitem(tables.TABLES, name, write)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / tables.PAGE).write_text("\n".join(("before", *results.marks(), "after", "")))
    return tmp_path


def run(*words: str) -> None:
    assert CliRunner().invoke(program.main, words, catch_exceptions=False).exit_code == 0


@pytest.mark.parametrize("words", [("--page", "--only", "steps"), ("--output", "missing/results.json")], ids=" ".join)
def test_a_wrong_option_ends_before_anything_is_measured(
    words: tuple[str, ...], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "measure", lambda session, names: pytest.fail("measured"))
    assert CliRunner().invoke(program.main, words).exit_code == 2


def test_results_are_kept_by_cpu_and_benchmark(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = project / tables.PAGE
    empty = page.read_text()
    run("--quick")
    assert not list((project / "benchmarks").iterdir()), "quick runs are not saved"
    assert page.read_text() == empty
    run()
    monkeypatch.setitem(program.BENCHMARKS, "steps", lambda session: {"of": "steps, again"})
    run("--only", "steps")
    file = project / "benchmarks" / "results-amd-epyc-zen4.json"
    amd = json.loads(file.read_text())
    assert amd.keys() == {*BENCHMARKS, "kind", "measured"}
    assert amd["measured"].keys() == set(BENCHMARKS)
    assert [amd[name]["of"] for name in ("steps", "growth")] == ["steps, again", "growth"]
    before, _, after = page.read_text().partition(results.marks()[0])
    assert (before, after[-7:]) == ("before\n", "\nafter\n")
    assert all(str(amd[name]) in after for name in BENCHMARKS)

    amd = json.loads(file.read_text().replace(program.machine.describe()["on"], "2026-01-01"))
    results.write(file, amd)
    monkeypatch.setattr(program.machine, "kind", lambda cpu: "intel-xeon-6-143-amx")
    for name in BENCHMARKS:
        monkeypatch.setitem(program.BENCHMARKS, name, lambda session, name=name: {"on Intel": name})
    run()
    assert json.loads(file.read_text()) == amd
    block, _, older = page.read_text().partition("### amd-epyc-zen4")
    assert all(str({"on Intel": name}) in block for name in BENCHMARKS), "all tables of the CPU measured last"
    assert str(amd["steps"]) in older
    assert str(amd["growth"]) not in older
    monkeypatch.setattr(program, "measure", lambda session, names: pytest.fail("measured"))
    text = page.read_text()
    run("--page")
    assert page.read_text() == text
