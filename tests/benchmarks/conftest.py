"""Shared by the tests of the benchmarks: one thread of NumPy after each, and the smallest session."""

from collections.abc import Iterator

import pytest

from benchmarks.session import Session, set_library_threads
from benchmarks.timing import Timer


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    yield
    set_library_threads("numpy", 1)


@pytest.fixture
def session() -> Session:
    return Session(Timer(1, 0, 0), quick=True, threads=(1,))
