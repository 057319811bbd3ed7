"""The number of BLAS threads, through threadpoolctl and without it."""

import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from captioner.parallel import blas
from captioner.parallel.thread_pool import ThreadPool

CACHED = (blas._library, blas._built_with, blas._warn)
BUILT = blas._built_with()
needs_openblas = pytest.mark.skipif("openblas" not in BUILT["name"], reason="needs NumPy with OpenBLAS")


@pytest.fixture(autouse=True)
def _restore(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = blas.describe().threads
    for function in CACHED:
        function.cache_clear()
    yield
    for function in CACHED:
        function.cache_clear()
    monkeypatch.undo()
    if before is not None:
        blas.set_threads(before)


class Library:
    """A BLAS library with a number of threads for the process, or for each thread."""

    version, architecture = "1.2", "Kernel"

    def __init__(self, internal_api: str, threading_layer: str = "pthreads", effective: bool = True) -> None:
        self.internal_api, self.threading_layer, self.effective = internal_api, threading_layer, effective
        self.set_by: dict[int, int] = {}

    def set_num_threads(self, count: int) -> None:
        self.set_by[threading.get_ident()] = count

    @property
    def num_threads(self) -> int:
        return self.set_by.get(threading.get_ident(), 8) if self.effective else 8


def use(monkeypatch: pytest.MonkeyPatch, library: Library | None, built: str = "blas") -> None:
    monkeypatch.setattr(blas, "_library", lambda: library)
    monkeypatch.setattr(blas, "_built_with", lambda: {"name": built, "version": "3"})


@pytest.mark.smoke
@needs_openblas
def test_threadpoolctl_and_ctypes_agree() -> None:
    both: list[Any] = [blas._find_with_threadpoolctl(), blas._find_with_ctypes()]
    for setter in both:
        for count in (2, 1):
            setter.set_num_threads(count)
            assert [library.num_threads for library in both] == [count, count]
    for name in ("internal_api", "version", "architecture"):
        assert getattr(both[0], name) == getattr(both[1], name)


@needs_openblas
@pytest.mark.parametrize("installed", [True, False])
def test_the_library_with_and_without_threadpoolctl(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not installed:
        monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    blas.set_threads(1)
    assert isinstance(blas._library(), blas.OpenBlas) is not installed
    described = blas.describe()
    assert (described.name, described.threads) == ("OpenBLAS", 1)
    assert described.version.startswith(BUILT["version"].partition(".dev")[0])
    assert str(blas.describe()) == f"OpenBLAS {described.version} ({described.kernel})"


def test_an_unknown_library_has_the_name_that_numpy_was_built_with(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, None)
    assert blas.describe() == blas.Blas("blas", "3", None, None)
    assert str(blas.describe()) == "blas 3"


@pytest.mark.parametrize(
    ("library", "is_limited"),
    [
        (Library("mkl", "intel"), True),
        (Library("openblas", "openmp"), True),
        (Library("openblas"), False),
        (Library("blis"), False),
    ],
    ids=lambda value: f"{value.internal_api} {value.threading_layer}" if isinstance(value, Library) else "",
)
def test_workers_are_limited_if_the_number_of_threads_is_theirs(
    library: Library, is_limited: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, library)
    counts = ThreadPool(3).map(lambda worker: library.num_threads)
    assert counts[1:] == ([1, 1] if is_limited else [8, 8])
    assert threading.get_ident() not in library.set_by, "the calling thread is not a worker"


def test_multiplying_in_a_worker_uses_one_thread() -> None:
    blas.set_threads(1)
    matrix = np.ones((64, 64))
    counts = ThreadPool(2).map(lambda worker: (matrix @ matrix, blas.describe().threads)[1])
    assert counts in ([1, 1], [None, None])


TRY = "try pip install --upgrade threadpoolctl, or set OMP_NUM_THREADS=1"
SLOW = "which can make training slower and its results not reproducible"


@pytest.mark.parametrize("library", [Library("openblas", effective=False), None])
def test_a_number_that_cannot_be_set_causes_one_warning(
    library: Library | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, library)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            blas.set_threads(1)
    assert [str(warning.message) for warning in caught] == [
        f"the number of BLAS threads cannot be set ({blas.describe()}), {SLOW}; {TRY}"
    ]


@pytest.mark.parametrize("name", blas.VARIABLES)
def test_no_warning_if_the_environment_sets_the_number(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, None)
    monkeypatch.setenv(name, "1")
    blas.set_threads(1)


@needs_openblas
def test_a_library_with_openmp_needs_threadpoolctl(monkeypatch: pytest.MonkeyPatch) -> None:
    function = blas.OpenBlas._function
    openmp = {"openblas_get_parallel": lambda: blas.OPENMP}
    monkeypatch.setattr(blas.OpenBlas, "_function", lambda self, name: openmp.get(name) or function(self, name))
    assert blas._find_with_ctypes() is None
