"""Contenders run in processes of their own, each with the memory and the threads that its users have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

from captioner.parallel.machine import set_blas_threads, use_huge_pages

Build: TypeAlias = Callable[[], Mapping[str, object]]
"""Builds the programs of a process by name."""


def set_up(library: str, threads: int) -> None:
    """Set memory and threads of this process: those of PyTorch, of a NumPy program (`loops`), or of captioner.

    The floor has captioner's memory and the threads of a NumPy program.
    """
    if library == "torch":
        import torch

        torch.set_num_threads(threads)
        return
    set_blas_threads(1 if library == "captioner" else threads)
    if library != "loops":
        use_huge_pages()  # as the commands; training also calls keep_freed_memory


class Process:
    """A process that builds programs and calls them on request; its errors are printed, and end it."""

    def __init__(self, library: str, threads: int, build: Build) -> None:
        context = get_context("spawn")
        self._pipe, pipe = context.Pipe()
        self._process = context.Process(target=_serve, args=(pipe, library, threads), daemon=True)
        self._process.start()
        pipe.close()
        self._pipe.send(build)

    @cached_property
    def names(self) -> list[str]:
        """The names of the programs, once all are built."""
        return list(self._pipe.recv())

    def call(self, function: Callable[..., Any], name: str, *arguments: object) -> Any:
        """Call `function(program, *arguments)` in the process. Raises: EOFError if the process has ended."""
        self._pipe.send((function, name, arguments))
        return self._pipe.recv()

    def close(self) -> None:
        self._pipe.close()
        self._process.join()


def _serve(pipe: Connection, library: str, threads: int) -> None:
    set_up(library, threads)  # before the build with its arrays is received
    programs = pipe.recv()()
    pipe.send(list(programs))
    while True:
        try:
            function, name, arguments = pipe.recv()
        except EOFError:
            return
        pipe.send(function(programs[name], *arguments))
