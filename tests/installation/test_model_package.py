"""A model package is built, installed and used by name; `make caption` sets everything up."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from archives import ROOT, Archives, modules, run, user_environment

from captioner.export.card import CardOptions
from captioner.export.package import write_package

pytestmark = pytest.mark.environments


@pytest.fixture
def model(photo_run: Path, tmp_path: Path) -> Path:
    """The folder of a model package of scenes photographs."""
    write_package(photo_run, tmp_path / "birds", CardOptions(), "birds")
    return tmp_path / "birds"


def test_a_package_installs_from_its_wheel_and_from_its_folder(
    archives: Archives, uv: Callable[..., str], model: Path, photo_run: Path, tmp_path: Path
) -> None:
    uv("build", "--wheel", "--out-dir", tmp_path / "dist", model)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = ("__init__.py", "card.md", "weights.h5", "model.json")
    assert modules(wheel) == {f"captioner_birds/{name}" for name in names}
    for source in (wheel, model):
        environment = tmp_path / source.name / "venv"
        uv("venv", "--seed", "--python", sys.executable, environment)
        run(environment / "bin" / "python", "-m", "pip", "install", f"{archives.wheel}[images]", source)
        command = environment / "bin" / "captioner"
        listed = json.loads(run(command, "models", "--json", cwd=tmp_path / source.name))
        assert (listed["name"], listed["version"]) == ("birds", "1.0.0")
        photo = photo_run.parent / "photos" / "000.png"
        assert run(command, "sample", "birds", photo, cwd=tmp_path / source.name).startswith(f"{photo}\t")


def test_make_caption_sets_everything_up(model: Path, photo_run: Path, tmp_path: Path) -> None:
    photo = Path(shutil.copy(photo_run.parent / "photos" / "000.png", tmp_path / "my photo.png"))
    words = (f"MODEL={model}", f"VENV={tmp_path / 'venv'}", f"PYTHON={sys.executable}")
    for name in (photo, tmp_path):  # tmp_path: a folder with this photograph
        out = run("make", "--silent", "caption", f"PHOTO={name}", *words, cwd=ROOT, env=user_environment())
        lines = rf"^photograph, caption, log-probability .*\n{re.escape(str(photo))}\t"
        assert re.search(lines, out, re.MULTILINE), out
        assert out.splitlines()[-1].startswith("next: make caption PHOTO=FOLDER")
