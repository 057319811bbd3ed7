"""Model packages for tests: written, and installed into a folder as pip does."""

import shutil
import tomllib
from pathlib import Path

import pytest

from captioner.export.card import CardOptions
from captioner.export.package import write_package
from captioner.inference.package_info import module_name

NAME = "birds"


def packaged(run: Path, folder: Path, name: str = NAME, **options: object) -> Path:
    """Write a package, and return the folder of its Python package."""
    write_package(run, folder, CardOptions(), name, **options)  # type: ignore[arg-type]
    return folder / module_name(name)


def install(folder: Path, site: Path) -> Path:
    """Copy the Python package of a model package, with its metadata, as pip does; return the copy."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    (module,) = project["tool"]["setuptools"]["packages"]
    about = project["project"]
    metadata = site / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n")
    (points,) = about["entry-points"].items()
    lines = (f"{name} = {value}" for name, value in points[1].items())
    (metadata / "entry_points.txt").write_text("\n".join((f"[{points[0]}]", *lines)) + "\n")
    return Path(shutil.copytree(folder / module, site / module))


@pytest.fixture(scope="session")
def bird_package(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model package, to be read alone."""
    folder = tmp_path_factory.mktemp("packages") / "model"
    packaged(tiny_run, folder)
    return folder


@pytest.fixture
def birds(bird_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Python package of the installed model `birds`, to be changed; the current folder is empty."""
    site, here = tmp_path / "site", tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(site)
    return install(bird_package, site)
