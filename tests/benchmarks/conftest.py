"""Shared by the tests of the benchmarks: the smallest session, whose contenders run in this process."""

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.contenders import Build
from benchmarks.session import Session
from benchmarks.timing import Timer


class InProcess:
    """Builds and calls programs as `Process` does, where tests can replace their parts."""

    def __init__(self, library: str, threads: int, build: Build) -> None:
        self.programs = build()
        self.names = list(self.programs)

    def call(self, function: Callable[..., Any], name: str, *arguments: object) -> Any:
        return function(self.programs[name], *arguments)

    def close(self) -> None:
        self.programs = {}


@pytest.fixture
def session() -> Session:
    return Session(Timer(1, 0, 0), quick=True, threads=(1,), starts=1, start=InProcess)
