"""The benchmarks of the server and of image encoders, at small sizes."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import encoders, serve
from benchmarks.results import marks


def test_every_request_is_measured_and_answered(tiny_run: Path) -> None:
    with serve.started(tiny_run, serve.scenes(2)) as server:
        assert len(serve.send(server, 2, 6)) == 6
        load = serve.load(server, 2, 6)
        assert [requests for requests, _ in serve.growth(server, 10)] == [2, 4, 6, 8, 10]
    assert load.clients == 2
    assert 0 < min(load.latencies) <= max(load.latencies)


def test_an_answer_that_is_no_caption_is_an_error(tiny_run: Path) -> None:
    with serve.started(tiny_run, [b"no photograph"]) as server, pytest.raises(RuntimeError, match="422"):
        serve.send(server, 1, 1)


def test_the_rows_have_rates_and_percentiles() -> None:
    assert list(serve.rows("a", [serve.Load(8, 12.34, (1.0, 20.4, 300.5))])) == [("a", "8", "12.3", "1", "20", "300")]
    page = serve.PAGE.read_text()
    assert [page.count(mark) for mark in marks()] == [1, 1]


def test_every_recipe_is_timed() -> None:
    options = ["--repeats", "1", "--patience", "0", "scenes", "scenes:mirror+scenes"]
    done = CliRunner().invoke(encoders.main, options, catch_exceptions=False)
    rows = [line.split(" | ") for line in done.output.splitlines() if line.startswith("| `")]
    assert [row[:2] for row in rows] == [["| `scenes`", "231"], ["| `scenes:mirror+scenes`", "462"]]
    assert all(re.fullmatch(r"\d+\.\d", row[2]) for row in rows)
