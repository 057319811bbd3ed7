"""Build the archives of this checkout once."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
from archives import ROOT, Archives, run, user_environment

UV = {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}


@pytest.fixture(scope="session")
def uv() -> Callable[..., str]:
    """The command uv, which uses only the installed Pythons."""

    def call(*words: object, **options: Any) -> str:
        return run(sys.executable, "-m", "uv", *words, env={**user_environment(), **UV}, **options)

    return call


@pytest.fixture(scope="session")
def archives(uv: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Archives:
    """The source archive of the checkout, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("archives")
    uv("build", "--out-dir", folder, ROOT)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Archives(wheel, sdist)
