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
    assert measured["measured"][name]["machine"]["commit"]
    assert tables.render(measured) in done.output
    assert done.output.count(" · all tables are from this session\n") == 1
    assert f"`python -m benchmarks --only {name}`" in done.output
    assert done.output.count("\n| ") >= 2, "a table with a row"


def test_the_page_shows_the_results() -> None:
    page, block = (ROOT / tables.PAGE).read_text(), tables.render_page(results.load_all(ROOT / "benchmarks"))
    assert results.insert(page, block) == page, f"{tables.PAGE}: run `python -m benchmarks --page`"


def test_the_last_row_of_the_steps_has_geometric_means_without_bfloat16() -> None:
    def race(ours: float, **others: float) -> dict[str, Any]:
        return {
            name.replace("_", " "): {"median": took, "spread": took / 100}
            for name, took in {"ours": ours, **others}.items()
        }

    peers = {"torch_eager": 2.0, "torch_packed": 1.0, "bfloat16": 0.1, "floor": 0.6}
    steps = {
        shape.key: {"threads": {"1": race(0.7, **peers)}, "loops": {"1": race(0.7, loops=3.0)}} for shape in shapes.COCO
    }
    steps["rnn-64-10000"]["threads"]["1"] = race(1.4, **peers)
    (table,) = tables.TABLES["steps"].write(steps)
    best = 0.7 * 2**0.1
    assert table.splitlines()[-2].endswith(" | 2 |"), "the largest spread in percent"
    assert [cell for cell in table.splitlines()[-1].split(" | ") if cell][1:4] == [
        f"{best:.2f}",
        f"{best / 2:.2f}",
        f"{3 / 0.7:.2f}",
    ]


def test_results_are_kept_by_cpu_and_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run replaces its own benchmarks on its CPU; the page has each table of the CPU that was measured last."""
    monkeypatch.setattr(program, "ROOT", tmp_path)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "docs").mkdir()
    page = tmp_path / tables.PAGE
    page.write_text("\n".join(("before", *results.marks(), "after", "")))
    for name in ("steps", "decoding"):
        write = tables.TABLES[name]._replace(write=lambda measured: iter([f"head\n---\nrow of {measured}\n{measured}"]))
        monkeypatch.setitem(tables.TABLES, name, write)
    both = ["steps", "decoding"]
    for kind, names, value in (("amd", both, "first"), ("amd", both[:1], "second"), ("intel", both[:1], "third")):
        monkeypatch.setattr(program.machine, "kind", lambda cpu, kind=kind: kind)
        for name in names:
            monkeypatch.setitem(program.BENCHMARKS, name, lambda session, text=f"{value} {name}": text)
        only = [word for name in names for word in ("--only", name)]
        assert CliRunner().invoke(program.main, ["--quick", *only], catch_exceptions=False).exit_code == 0
        assert value not in page.read_text(), "quick runs are not saved"
        if kind == "intel":
            file = tmp_path / "benchmarks" / "results-amd.json"
            file.write_text(file.read_text().replace(program.machine.describe()["on"], "2026-01-01"))
        assert CliRunner().invoke(program.main, only, catch_exceptions=False).exit_code == 0
        assert f"{value} steps" in page.read_text()
        assert page.read_text().count("row of first decoding") == 1, "also if another CPU was measured last"
    intel, amd = results.load_all(tmp_path / "benchmarks")
    assert (amd["steps"], amd["decoding"], intel["steps"]) == ("second steps", "first decoding", "third steps")
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("\nafter\n")
    older = page.read_text().partition("### amd")[2]
    assert "second steps" in older
    assert "row of second steps" not in older, "of older CPUs, the last row of the steps"
