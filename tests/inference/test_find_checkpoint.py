"""Runs, checkpoints and installed models are found by path or name; a missing one is answered with existing ones."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaged import install

import captioner
from captioner.errors import CheckpointError
from captioner.inference.find_checkpoint import (
    MAX_NAMED,
    describe_installed,
    find_checkpoint,
    find_installed,
    installed_names,
    is_run,
    nearest_runs,
)
from captioner.inference.load import open_run
from captioner.inference.package_info import WEIGHTS


def test_a_run_folder_means_its_best_checkpoint_or_else_the_last(own_run: Path) -> None:
    assert find_checkpoint(own_run) == own_run / "best.h5"
    assert find_checkpoint(own_run / "last.h5") == own_run / "last.h5"
    (own_run / "best.h5").unlink()
    assert find_checkpoint(own_run) == own_run / "last.h5"
    (own_run / "last.h5").unlink()
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(own_run)
    assert str(caught.value) == (f"{own_run}: no checkpoint found; expected best.h5 or last.h5 from `captioner train`")


def test_is_run(own_run: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photo.png").write_bytes(b"x")
    renamed = (own_run / "last.h5").rename(tmp_path / "model")
    os.mkfifo(tmp_path / "pipe.h5")
    others = [*(tmp_path / name for name in ("photos", "photo.png", "pipe.h5", "nope")), Path("-"), Path("\0")]
    assert all(map(is_run, (own_run, own_run / "best.h5", renamed)))
    assert not any(map(is_run, others))
    (own_run / "best.h5").unlink()
    assert not is_run(own_run), "a run without a checkpoint cannot caption"


LISTING = """
import sys
from captioner.cli import cli
assert not cli.main(["models"], standalone_mode=False)
loaded = {"numpy", "h5py", "yaml", "captioner_birds"} & set(sys.modules)
print("loaded:", sorted(loaded))
"""


def test_an_installed_model_is_a_run(birds: Path) -> None:
    assert installed_names() == ["birds"]
    assert find_installed("birds") == birds
    assert is_run(Path("birds"))
    assert not is_run(Path("cats"))
    assert open_run("birds").path == birds / "weights.h5"
    assert "birds" in repr(captioner.load("birds"))


def test_code_of_a_package_never_runs(birds: Path, shell: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    (birds / "__init__.py").write_text("raise SystemExit('the package was imported')\n")
    monkeypatch.setenv("PYTHONPATH", str(birds.parent))
    done = shell(code=LISTING)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "loaded: []"
    open_run("birds")
    assert "captioner_birds" not in sys.modules


def test_an_existing_path_takes_precedence(birds: Path, tiny_run: Path) -> None:
    Path("birds").mkdir()
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(Path("birds"))
    assert str(caught.value).endswith("the installed model of this name is used only if no such path exists")
    shutil.copytree(tiny_run, "birds", dirs_exist_ok=True)
    assert find_checkpoint(Path("birds")) == Path("birds", "best.h5")


@pytest.mark.parametrize("name", ["bird", "zzz", "runs/birds", "Birds"])
def test_an_unknown_name_is_answered_with_the_installed_names(name: str, birds: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(Path(name))
    assert str(caught.value) == (
        f"{name}: not found; expected a run folder or a checkpoint from `captioner train`, or an installed model "
        f"(birds){'' if name == 'zzz' else '; did you mean birds?'}"
    )


def entry_point(birds: Path, line: str, distribution: str = "captioner_birds-1.0.0.dist-info") -> None:
    folder = birds.parent / distribution
    folder.mkdir(exist_ok=True)
    if not (folder / "METADATA").exists():
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (folder / "entry_points.txt").write_text(f"[captioner.models]\n{line}\n")


@pytest.mark.parametrize(
    "value", ["nowhere", "captioner_birds.inner", "captioner_birds:load", "email.mime", "os", "__main__"]
)
def test_an_entry_point_without_a_package_is_an_error(value: str, birds: Path) -> None:
    entry_point(birds, f"birds = {value}")
    (error,) = describe_installed()
    assert isinstance(error, CheckpointError)
    assert str(error).startswith("model birds: ")


def test_an_entry_point_names_one_package_of_this_model(birds: Path) -> None:
    entry_point(birds, "cats = captioner_birds")
    (error,) = describe_installed()
    assert str(error) == f"model cats: expected a package of this model, got birds in {birds}; uninstall it"
    with pytest.raises(CheckpointError, match=r"^model cats: expected a package of this model, got birds in "):
        open_run("cats")
    entry_point(birds, "birds = captioner_birds")
    entry_point(birds, "birds = captioner_other", "other-1.dist-info")
    with pytest.raises(CheckpointError, match="model birds: expected one installed package, got 'captioner_birds', "):
        open_run("birds")


@pytest.mark.parametrize("start", [("-m", "captioner"), ("-c", "from captioner.cli import main; main()")])
@pytest.mark.parametrize("is_editable", [False, True])
def test_the_current_folder_does_not_hide_the_package(is_editable: bool, start: tuple[str, ...], birds: Path) -> None:
    if is_editable:
        project = birds.parent.parent / "a project"
        project.mkdir()
        birds.rename(project / birds.name)
        origin = {"url": project.as_uri(), "dir_info": {"editable": True}}
        (birds.parent / "captioner_birds-1.0.0.dist-info" / "direct_url.json").write_text(json.dumps(origin))
    namesake = Path("captioner_birds")
    namesake.mkdir()
    (namesake / "model.json").write_text("{}")
    command = [sys.executable, *start, "models"]
    environment = {**os.environ, "PYTHONPATH": str(birds.parent)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("birds")


def test_one_damaged_package_does_not_hide_others(birds: Path, bird_package: Path) -> None:
    other = shutil.copytree(bird_package, birds.parents[1] / "other")
    project = other / "pyproject.toml"
    project.write_text(project.read_text().replace("captioner-birds", "captioner-cats").replace("birds = ", "cats = "))
    shutil.rmtree(birds)
    install(other, birds.parent)
    first, second = describe_installed()
    assert isinstance(first, tuple)
    assert isinstance(second, CheckpointError)


@pytest.mark.parametrize("content", [b"[console_scripts]\nfoo\n", b"[x]\na = b\xff\n"], ids=["no value", "not UTF-8"])
def test_damaged_entry_points_of_another_distribution_change_nothing(
    content: bytes, birds: Path, cli: Callable[..., Any]
) -> None:
    other = birds.parent / "unrelated-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: unrelated\nVersion: 1.0\n")
    (other / "entry_points.txt").write_bytes(content)
    with pytest.raises((TypeError, ValueError)):
        metadata.entry_points()
    assert "birds" in installed_names()
    assert find_installed("birds") == birds
    done = cli("sample", "nowhere", "photo.jpg")
    assert (done.code, done.err.count("\n")) == (1, 1)


def test_weights_that_do_not_fit_are_reported_in_the_list(birds: Path, tiny_run: Path, cli: Callable[..., Any]) -> None:
    shutil.copy(find_checkpoint(tiny_run), birds / WEIGHTS)
    cli("models").failed(1, "captioner: model birds: ")


@pytest.fixture
def runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder has the runs `birds` and `scenes` in `runs`, and a folder without a checkpoint."""
    monkeypatch.chdir(tmp_path)
    for run in ("birds", "scenes"):
        Path("runs", run).mkdir(parents=True)
        Path("runs", run, "last.h5").touch()
    Path("runs", "empty").mkdir()


@pytest.mark.usefixtures("runs_here")
@pytest.mark.parametrize("name", ["runs/bird", "runs/Birds", "birds", "runs/birds-2"])
def test_a_similar_run_is_suggested(name: str) -> None:
    assert nearest_runs(Path(name)) == "; did you mean runs/birds?"


@pytest.mark.usefixtures("runs_here")
@pytest.mark.parametrize("name", ["runs/nothing", "runs", "runs/empty", "elsewhere/nothing", "nothing"])
def test_existing_runs_are_listed(name: str) -> None:
    names = nearest_runs(Path(name)).removeprefix("; existing runs: ").split(", ")
    assert sorted(names) == ["runs/birds", "runs/scenes"]


@pytest.mark.usefixtures("runs_here")
def test_at_most_five_are_named() -> None:
    for number in range(20):
        Path("runs", f"n{number}").mkdir()
        Path("runs", f"n{number}", "best.h5").touch()
    assert nearest_runs(Path("runs/qq")).count("runs/") == MAX_NAMED == 5


@pytest.mark.usefixtures("runs_here")
def test_without_runs_nothing_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path / "runs" / "empty")
    assert nearest_runs(Path("nothing")) == ""
    assert nearest_runs(Path("a\0b/c")) == ""
