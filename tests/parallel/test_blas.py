"""The number of BLAS threads."""

import warnings
from collections.abc import Iterator

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
    """A library whose number of threads stays the same."""

    version, architecture = "1.2", "Kernel"

    def num_threads(self) -> int:
        return 8

    def set_num_threads(self, count: int) -> None:
        pass


def use(monkeypatch: pytest.MonkeyPatch, library: Library | None, built: str = "blas") -> None:
    monkeypatch.setattr(blas, "_library", lambda: library)
    monkeypatch.setattr(blas, "_built_with", lambda: {"name": built, "version": "3"})


@pytest.mark.smoke
@needs_openblas
@pytest.mark.parametrize("count", [2, 1])
def test_the_number_of_threads_of_openblas_is_set(count: int) -> None:
    blas.set_threads(count)
    described = blas.describe()
    assert (described.name, described.threads) == ("OpenBLAS", count)
    assert described.version.startswith(BUILT["version"].partition(".dev")[0])
    assert str(described) == f"OpenBLAS {described.version} ({described.kernel})"


def test_an_unknown_library_has_the_name_that_numpy_was_built_with(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, None)
    assert blas.describe() == blas.Blas("blas", "3", None, None)
    assert str(blas.describe()) == "blas 3"


def test_multiplying_in_a_worker_uses_one_thread() -> None:
    blas.set_threads(1)
    matrix = np.ones((64, 64))
    counts = ThreadPool(2).map(lambda worker: (matrix @ matrix, blas.describe().threads)[1])
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
def test_openblas_with_openmp_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    function = blas.OpenBlas._function
    openmp = {"openblas_get_parallel": lambda: blas.OPENMP}
    monkeypatch.setattr(blas.OpenBlas, "_function", lambda self, name: openmp.get(name) or function(self, name))
    assert blas._library() is None
