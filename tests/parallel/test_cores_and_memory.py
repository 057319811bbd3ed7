"""Cores are counted, too few are a warning; freed memory and huge pages; the number of BLAS threads."""

import ctypes
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from captioner.parallel import machine
from captioner.parallel.machine import describe_blas, keep_freed_memory, set_blas_threads, use_huge_pages
from captioner.parallel.thread_pool import ThreadPool

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

from captioner.parallel.machine import describe_blas, keep_freed_memory, set_blas_threads, use_huge_pages
from captioner.parallel.thread_pool import ThreadPool


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


CACHED = (machine._library, machine._built_with, machine._warn)
BUILT = machine._built_with()
needs_openblas = pytest.mark.skipif("openblas" not in BUILT["name"], reason="needs NumPy with OpenBLAS")


@pytest.fixture(autouse=True)
def _restore(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = describe_blas().threads
    for function in CACHED:
        function.cache_clear()
    yield
    for function in CACHED:
        function.cache_clear()
    monkeypatch.undo()
    if before is not None:
        set_blas_threads(before)


class Library:
    """A library whose number of threads stays the same."""

    version, architecture = "1.2", "Kernel"

    def num_threads(self) -> int:
        return 8

    def set_num_threads(self, count: int) -> None:
        pass


def use(monkeypatch: pytest.MonkeyPatch, library: Library | None, built: str = "blas") -> None:
    monkeypatch.setattr(machine, "_library", lambda: library)
    monkeypatch.setattr(machine, "_built_with", lambda: {"name": built, "version": "3"})


@pytest.mark.smoke
@needs_openblas
@pytest.mark.parametrize("count", [2, 1])
def test_the_number_of_threads_of_openblas_is_set(count: int) -> None:
    set_blas_threads(count)
    described = describe_blas()
    assert (described.name, described.threads) == ("OpenBLAS", count)
    assert described.version.startswith(BUILT["version"].partition(".dev")[0])
    assert str(described) == f"OpenBLAS {described.version} ({described.kernel})"


def test_an_unknown_library_has_the_name_that_numpy_was_built_with(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, None)
    assert describe_blas() == machine.Blas("blas", "3", None, None)
    assert str(describe_blas()) == "blas 3"


def test_multiplying_in_a_worker_uses_one_thread() -> None:
    set_blas_threads(1)
    matrix = np.ones((64, 64))
    counts = ThreadPool(2).map(lambda worker: (matrix @ matrix, describe_blas().threads)[1])
    assert counts in ([1, 1], [None, None])


TRY = "set OMP_NUM_THREADS=1, or install NumPy with pip"
SLOW = "which can make training slower and its results not reproducible"


@pytest.mark.parametrize("library", [Library(), None])
def test_a_number_that_cannot_be_set_causes_one_warning(
    library: Library | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, library)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            set_blas_threads(1)
    assert [str(warning.message) for warning in caught] == [
        f"the number of BLAS threads cannot be set ({describe_blas()}), {SLOW}; {TRY}"
    ]


@pytest.mark.parametrize("name", machine.VARIABLES)
def test_no_warning_if_the_environment_sets_the_number(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, None)
    monkeypatch.setenv(name, "1")
    set_blas_threads(1)


@needs_openblas
def test_openblas_with_openmp_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    function = machine.OpenBlas._function
    openmp = {"openblas_get_parallel": lambda: machine.OPENMP}
    monkeypatch.setattr(machine.OpenBlas, "_function", lambda self, name: openmp.get(name) or function(self, name))
    assert machine._library() is None
