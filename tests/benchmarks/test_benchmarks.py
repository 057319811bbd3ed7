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
    before = (ROOT / tables.PAGE).read_text()
    done = CliRunner().invoke(program.main, ["--quick", "--only", name, "--output", output], catch_exceptions=False)
    measured = json.loads(output.read_text())
    assert done.exit_code == 0
    assert measured.keys() == {"machine", "notes", name}
    assert measured["machine"]["NumPy"].startswith(np.__version__)
    assert measured["machine"]["commit"]
    assert tables.render(measured) in done.output
    assert f"`python -m benchmarks --only {name}`" in done.output
    assert done.output.count("\n| ") >= 2, "a table with a row"
    assert (ROOT / tables.PAGE).read_text() == before, "the page has the results of the files in benchmarks/"


def test_the_page_shows_a_row_for_each_cpu_the_one_measured_last_first() -> None:
    every = results.load_all(ROOT / "benchmarks")
    page, block = (ROOT / tables.PAGE).read_text(), tables.render_page(every)
    assert results.insert(page, block) == page
    assert [line.split(" | ")[0] for line in block.splitlines()[2:]] == [f"| {name[:-5]}" for name in every]
    days = [measured["machine"]["on"] for measured in every.values()]
    assert days == sorted(days, reverse=True)


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
    table = tables.TABLES["steps"](steps)
    best = 0.7 * 2**0.1
    assert table.splitlines()[-2].endswith(" | 2 |"), "the largest spread in percent"
    assert [cell for cell in table.splitlines()[-1].split(" | ") if cell][1:4] == [
        f"{best:.2f}",
        f"{best / 2:.2f}",
        f"{3 / 0.7:.2f}",
    ]
