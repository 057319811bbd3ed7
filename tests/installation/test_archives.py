"""The content of the wheel and of the source archive."""

import re
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from archives import ROOT, Archives, metadata, modules, unpack

pytestmark = pytest.mark.environments


def test_the_wheel_contains_the_package_the_configs_and_the_default_model(archives: Archives) -> None:
    expected = {str(path.relative_to(ROOT)) for path in (ROOT / "captioner").rglob("*.py")}
    expected |= {f"captioner/configs/{path.name}" for path in (ROOT / "configs").glob("*.yaml")}
    expected |= {f"captioner/report/templates/{path.name}" for path in (ROOT / "captioner/report/templates").iterdir()}
    expected |= {f"captioner/models/{name}" for name in ("everyday.h5", "everyday.onnx", "LICENSE.txt")}
    assert modules(archives.wheel) == expected | {"captioner/py.typed"}


def test_the_source_archive_contains_every_file_of_the_repository(archives: Archives) -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    with tarfile.open(archives.sdist) as archive:
        contained = {name.partition("/")[2] for name in archive.getnames()}
    assert set(tracked.stdout.splitlines()) <= contained


def test_the_metadata(archives: Archives) -> None:
    found = metadata(archives.wheel)
    assert found["License-Expression"] == "MIT AND LicenseRef-captioner-default-model"
    assert found.get_all("License-File") == ["LICENSE", "models/LICENSE.txt"]
    assert found["Author"] == "The captioner developers"
    assert found["Requires-Python"] == ">=3.11"
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13, 14)} <= {
        *found.get_all("Classifier", [])
    }


def test_the_description_is_the_readme_without_links_to_files(archives: Archives) -> None:
    description = str(metadata(archives.wheel).get_payload())
    assert "[docs/data.md]" not in description
    assert all(link.startswith(("https://", "#")) for link in re.findall(r"\]\(([^)]+)\)", description))
    assert len(description) > len((ROOT / "README.md").read_text()) / 2


def test_no_stale_file_of_an_earlier_build_is_in_a_wheel(
    archives: Archives, uv: Callable[..., str], tmp_path: Path
) -> None:
    source = unpack(archives.sdist, tmp_path / "source")
    stale = source / "build" / "lib" / "captioner" / "stale.py"
    stale.parent.mkdir(parents=True)
    stale.touch()
    uv("build", "--wheel", "--out-dir", tmp_path / "dist", source)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert modules(wheel) == modules(archives.wheel)
