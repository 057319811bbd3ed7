"""The benchmark of the server, at a small size."""

from pathlib import Path

import pytest

from benchmarks import serve
from benchmarks.results import marks


def test_every_request_is_measured_and_answered(tiny_run: Path) -> None:
    with serve.started(tiny_run, serve.scenes(2)) as server:
        assert len(serve.send(server, 2, 6)) == 6
        one = serve.load(server, 2, 6)
        assert [requests for requests, _ in serve.growth(server, 10)] == [2, 4, 6, 8, 10]
    assert one.clients == 2
    assert 0 < min(one.latencies) <= max(one.latencies)


def test_an_answer_that_is_no_caption_is_an_error(tiny_run: Path) -> None:
    with serve.started(tiny_run, [b"no photograph"]) as server, pytest.raises(RuntimeError, match="422"):
        serve.send(server, 1, 1)


def test_the_rows_have_rates_and_percentiles() -> None:
    assert list(serve.rows("a", [serve.Load(8, 12.34, (1.0, 20.4, 300.5))])) == [("a", "8", "12.3", "1", "20", "300")]


def test_the_page_has_the_marks_of_the_tables() -> None:
    page = serve.PAGE.read_text()
    assert [page.count(mark) for mark in marks()] == [1, 1]
