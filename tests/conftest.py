"""Shared by all tests: one BLAS thread, the slow suite, the command line, runs, golden files."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import settings
from trained_runs import album, attention_run, coco_run, own_run, photo_run, small, small_options, tiny_run, write_coco

__all__ = [
    "album",
    "attention_run",
    "coco_run",
    "own_run",
    "photo_run",
    "small",
    "small_options",
    "tiny_run",
    "write_coco",
]

GOLDEN = Path(__file__).parent / "golden"
POSIX_ONLY = ["benchmarks", "faults", "images/test_protobuf.py"]
collect_ignore = [] if find_spec("resource") else POSIX_ONLY

SLOW = (
    "benchmarks",
    "cli/test_cli_mpi.py",
    "cli/test_cli_mpi_photographs.py",
    "cli/test_cli_report.py",
    "cs231n/test_captioning_solver.py",
    "faults",
    "parallel/test_mpi.py",
    "report/test_live.py",
    "report/test_report_in_browser.py",
    "serve",
    "test_docs.py",
    "test_platforms.py",
    "training/test_distill.py",
    "training/test_end_of_run.py",
    "training/test_flickr8k.py",
    "training/test_mpi_training.py",
    "training/test_resume_or_start.py",
    "training/test_self_critical.py",
    "training/test_train_prefetch.py",
)
"""Folders and files whose tests train for long, or start many processes: `make slow` runs them."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="Write tests/golden/*.txt again; then read the diff.")


def pytest_configure(config: pytest.Config) -> None:
    # Before the first import of NumPy: runs agree to the bit for one number of threads, and processes inherit it.
    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    # No test measures time: by default, an example that takes longer than 0.2 s fails.
    settings.register_profile("captioner", deadline=None)
    settings.load_profile("captioner")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    for item in items:
        if any(item.path.is_relative_to(tests / slow) for slow in SLOW):
            item.add_marker("slow")


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    def succeeded(self) -> "Done":
        """Assert that the exit code is 0 and that nothing was printed to stderr."""
        assert (self.code, self.err) == (0, "")
        return self

    def failed(self, code: int, message: str) -> None:
        """Assert the exit code, that nothing was printed to stdout, and one line on stderr that contains a text."""
        assert (self.code, self.out) == (code, "")
        assert re.fullmatch(r"captioner: [^\n]+\n", self.err), self.err
        assert message in self.err


@pytest.fixture(scope="session")
def one_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser for all tests of a worker."""
    from browser import AVAILABLE, started

    if not AVAILABLE:
        pytest.skip("Chromium and its driver are not installed")
    with started(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(one_browser: Any) -> Any:
    """The browser with its default view: 1,200 pixels wide, light, with scripts."""
    one_browser.view()
    one_browser.console()
    return one_browser


@pytest.fixture
def unreadable_shut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make folders named `shut` unreadable, also for root, whom permissions do not stop."""
    scandir = os.scandir

    def shut(folder: str) -> Any:
        if Path(folder).name == "shut":
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", shut)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """The whole command line in this process, errors and exit code included."""
    from captioner.cli import main

    def run(*args: object) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        code = ended.value.code
        assert isinstance(code, int)
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def shell() -> Callable[..., subprocess.CompletedProcess[Any]]:
    """The command line in a process of its own, or a `code` instead of it; a hang is a failure."""

    def run(*args: object, code: str | None = None, **options: Any) -> subprocess.CompletedProcess[Any]:
        start = ("-m", "captioner") if code is None else ("-c", code)
        if "stdout" not in options:
            options["stdout"] = subprocess.PIPE
        options = {"stderr": subprocess.PIPE, "text": True, "timeout": 120, **options}
        return subprocess.run([sys.executable, *start, *map(str, args)], **options)

    return run


@pytest.fixture
def files_of_at_most() -> Callable[[int], AbstractContextManager[None]]:
    """In its context no file grows beyond some bytes, as on a full disk."""

    resource = pytest.importorskip("resource")

    @contextlib.contextmanager
    def limit(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with tests/golden/NAME, or writes it there: `pytest --update-golden`."""

    def compare(name: str, text: str) -> None:
        file = GOLDEN / name
        if request.config.getoption("--update-golden"):
            file.write_text(text)
        assert text == file.read_text(), f"{name} differs; if that is meant, pytest --update-golden and read the diff"

    return compare
