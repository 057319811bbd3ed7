"""Functions of coroutines run in a bounded number of threads, and a bounded number of them waits."""

import asyncio
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from captioner.serve.security import RequestError
from captioner.serve.service import Workers


class Gate:
    """Functions that run until the gate is opened."""

    def __init__(self) -> None:
        self.is_open = threading.Event()

    def result(self, value: object) -> object:
        assert self.is_open.wait(60)
        if isinstance(value, Exception):
            raise value
        return value


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate that is opened at the end of the test."""
    gate = Gate()
    yield gate
    gate.is_open.set()


async def until(workers: Workers, **expected: int) -> None:
    deadline = time.monotonic() + 60
    while not workers.counts().items() >= expected.items():
        assert time.monotonic() < deadline, workers.counts()
        await asyncio.sleep(0.001)


def test_results_and_errors_are_those_of_the_functions(gate: Gate) -> None:
    async def test() -> None:
        workers = Workers(2, 10)
        gate.is_open.set()
        values = [1, error := ZeroDivisionError(), "x"]
        coroutines = [workers.run(partial(gate.result, value)) for value in values]
        assert await asyncio.gather(*coroutines, return_exceptions=True) == [1, error, "x"]
        assert workers.counts() == {"running": 0, "waiting": 0, "overdue": 0}

    asyncio.run(test())


def test_functions_run_in_order_and_a_bounded_number_waits(gate: Gate) -> None:
    async def test() -> None:
        workers, done = Workers(1, 50), list[object]()
        tasks = [
            asyncio.ensure_future(workers.run(lambda number=number: done.append(gate.result(number))))  # type: ignore[misc]
            for number in range(51)
        ]
        await until(workers, running=1, waiting=50)
        with pytest.raises(RequestError, match="50 photographs are waiting already; try again later") as caught:
            await workers.run(lambda: 52)
        assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "5", "Connection": "close"})
        gate.is_open.set()
        await asyncio.gather(*tasks)
        assert done == list(range(51))

    asyncio.run(test())


def test_a_function_that_is_given_up_leaves_the_queue_or_keeps_its_thread(
    gate: Gate, capfd: pytest.CaptureFixture[str]
) -> None:
    async def test() -> None:
        workers, done = Workers(1, 2), list[int]()
        runs = asyncio.ensure_future(workers.run(partial(gate.result, ValueError("of no interest"))))
        await until(workers, running=1)
        waits = [asyncio.ensure_future(workers.run(partial(done.append, number))) for number in range(2)]
        await until(workers, waiting=2)
        waits[0].cancel()
        await until(workers, waiting=1)
        runs.cancel()
        await until(workers, running=1, overdue=1, waiting=1)
        gate.is_open.set()
        await waits[1]
        assert done == [1]
        await until(workers, running=0, overdue=0, waiting=0)

    asyncio.run(test())
    assert capfd.readouterr().err == ""
