"""Too few cores are a warning; options of the allocator; the number of BLAS threads."""

import ctypes
import warnings
from collections.abc import Iterator

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
UNLIMITED = (machine.resource.RLIM_INFINITY,) * 2


@pytest.fixture
def mallopt(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What glibc returns for each option that is set, of a user without options of glibc and without limits."""
    library, returned = ctypes.CDLL(None), list[int]()

    class Spy:
        malloc, free, sbrk, madvise = library.malloc, library.free, library.sbrk, library.madvise

        def mallopt(self, option: int, value: int) -> None:
            returned.append(library.mallopt(option, value))

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Spy())
    monkeypatch.setattr(machine.os, "environ", {})
    monkeypatch.setattr(machine.resource, "getrlimit", lambda kind: UNLIMITED)
    return returned


@needs_glibc
def test_glibc_accepts_all_options(mallopt: list[int]) -> None:
    keep_freed_memory()
    use_huge_pages.__wrapped__()
    assert mallopt == [1] * 7


@needs_glibc
@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_options_of_the_user_take_precedence(name: str, mallopt: list[int]) -> None:
    machine.os.environ[name] = "8"
    use_huge_pages.__wrapped__()
    assert mallopt == []


@needs_glibc
@pytest.mark.parametrize("limited", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_limited_address_space_is_left_to_others(
    limited: str, mallopt: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {getattr(machine.resource, limited): (1 << 31, UNLIMITED[1])}
    monkeypatch.setattr(machine.resource, "getrlimit", lambda kind: limits.get(kind, UNLIMITED))
    use_huge_pages.__wrapped__()
    assert mallopt == []


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
