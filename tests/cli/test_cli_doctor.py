"""captioner doctor: its lines, its JSON object and its exit code."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioner.environment import checks
from captioner.environment.checks import Finding
from captioner.environment.checks import checks as table


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_one_aligned_line_per_check(cli: Callable[..., Any]) -> None:
    done = cli("doctor")
    assert (done.code, done.err) == (0, "")
    width = max(map(len, table()))
    rows = [
        (line[:8], line[9 : 9 + width], line[9 + width : 11 + width], line[11 + width :])
        for line in done.out.splitlines()
    ]
    assert [name.strip().replace(" ", "_") for _, name, *_ in rows] == list(table())
    assert {status.strip() for status, *_ in rows} <= {"ok", "missing"}
    assert all(gap == "  " and value.strip() == value != "" for *_, gap, value in rows)


def test_the_json_object(cli: Callable[..., Any]) -> None:
    done = cli("doctor", "--json")
    assert (done.code, done.err) == (0, "")
    report = json.loads(done.out)
    assert report.keys() == {"ok", "checks"}
    assert report["ok"] is True
    assert list(report["checks"]) == list(table())
    assert all(found.keys() == {"value", "data", "status", "remedy"} for found in report["checks"].values())


def test_an_error_is_exit_code_1_and_says_what_to_try(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "check_folder", lambda: Finding("full", None, "error", "another folder"))
    done = cli("doctor")
    assert (done.code, done.err) == (1, "")
    assert re.fullmatch("error +folder +full; try another folder", done.out.splitlines()[-1])
    done = cli("doctor", "--json")
    assert done.code == 1
    assert json.loads(done.out)["ok"] is False


WITHOUT = "import sys; sys.modules[{!r}] = None; from captioner.cli import main; main(['doctor', '--json'])"


@pytest.mark.parametrize(
    ("module", "errors", "unknown"),
    [
        (
            "numpy",
            {"numpy", "h5py", "extra_images", "extra_tensorboard", "extra_export"},
            {"blas", "numpy_simd", "matrix_products", "weights", "weights_lite2"},
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
    checked = json.loads(done.stdout)["checks"]
    found: dict[str, set[str]] = {}
    for name, finding in checked.items():
        found.setdefault(finding["status"], set()).add(name)
    assert list(checked) == list(table())
    assert (found["error"], found.get("unknown", set())) == (errors, unknown)
