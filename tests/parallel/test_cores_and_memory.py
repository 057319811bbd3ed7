"""Cores are counted, too few are a warning; freed memory and huge pages."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from captioner.parallel import machine
from captioner.parallel.machine import keep_freed_memory, use_huge_pages


def test_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    usable, total = machine.cores()
    assert 1 <= usable <= total
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert machine.cores() == (1, 1)


CASES = {
    "one process": ((8, 8), 64, 1, None),
    "enough cores": ((8, 8), 2, 4, None),
    "too many threads": ((8, 8), 4, 4, "16 threads share 8 cores of this machine, which slows all ranks down; "
                        "try -o threads=2"),
    "too many ranks": ((2, 2), 1, 3, "3 threads share 2 cores of this machine, which slows all ranks down; "
                      "try fewer ranks on this machine"),
    "bound to enough cores": ((2, 8), 2, 4, None),
    "bound to too few": ((2, 8), 4, 2, "4 threads share 2 cores of this machine, which slows all ranks down; "
                         "try -o threads=2"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_oversubscription(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cores, threads, processes, warning = CASES[case]
    monkeypatch.setattr(machine, "cores", lambda: cores)
    assert list(machine.oversubscription(threads, processes)) == ([] if warning is None else [warning])


needs_glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
ALLOCATE = """
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from captioner.parallel.machine import keep_freed_memory, use_huge_pages


def advised():
    text = open("/proc/self/smaps").read()
    found, current = [], None
    for line in text.splitlines():
        first = line.split()[0]
        if "-" in first and not first.endswith(":"):
            current = tuple(int(part, 16) for part in first.split("-"))
        elif first == "VmFlags:" and "hg" in line.split():
            found.append(current)
    return found


if sys.argv[1] == "huge":
    use_huge_pages()
    use_huge_pages()
keep_freed_memory()
with ThreadPoolExecutor(2) as pool:
    arrays = list(pool.map(lambda _: np.ones(1 << 18, np.float32), range(64)))
inside = [any(start <= a.ctypes.data < end for start, end in advised()) for a in arrays]
print(sum(inside))
"""


def arrays_in_huge_pages(mode: str, **environment: str) -> int:
    """How many of 64 arrays of a mebibyte are in memory that may have huge pages; two threads allocate them."""
    command = [sys.executable, "-c", ALLOCATE, mode]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    return int(subprocess.run(command, env={**kept, **environment}, check=True, stdout=subprocess.PIPE).stdout)


@needs_glibc
def test_arrays_of_all_threads_are_in_huge_pages() -> None:
    if not Path("/sys/kernel/mm/transparent_hugepage").is_dir():
        pytest.skip("needs a kernel with transparent huge pages")
    assert arrays_in_huge_pages("huge") >= 60
    assert arrays_in_huge_pages("small") == 0


@needs_glibc
@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_options_of_the_user_take_precedence(name: str) -> None:
    assert arrays_in_huge_pages("huge", **{name: "glibc.malloc.arena_max=8" if name == "GLIBC_TUNABLES" else "8"}) == 0


@needs_glibc
@pytest.mark.parametrize("limit", ["-v", "-d"])
def test_a_limited_address_space_is_left_to_others(limit: str) -> None:
    command = ["sh", "-c", f'ulimit {limit} 2000000; exec "$@"', "sh", sys.executable, "-c", ALLOCATE, "huge"]
    assert subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout == b"0\n"


@needs_glibc
def test_glibc_accepts_all_options(monkeypatch: pytest.MonkeyPatch) -> None:
    library, accepted = ctypes.CDLL(None), []

    class Spy:
        malloc, free, sbrk, madvise = library.malloc, library.free, library.sbrk, library.madvise

        def mallopt(self, option: int, value: int) -> None:
            accepted.append(library.mallopt(option, value))

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Spy())
    monkeypatch.setattr(machine.os, "environ", {})
    keep_freed_memory()
    use_huge_pages.__wrapped__()
    assert accepted == [1] * 7


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    keep_freed_memory()
    use_huge_pages.__wrapped__()
