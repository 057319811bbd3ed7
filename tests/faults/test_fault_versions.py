"""Files of another environment are tried with the lowest declared versions, and unreadable ones are detected."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from faults import versions
from faults.session import Session
from faults.watch import Outcome

HERE = Path(sys.executable)


@pytest.mark.parametrize("files", versions.FILES)
def test_files_are_readable_in_another_environment(files: str, tmp_path: Path) -> None:
    assert versions.trial(files, HERE, HERE, tmp_path / "run") == Outcome("read by the other")


def cut_short(written: versions.Written) -> versions.Written:
    written.path.write_bytes(written.path.read_bytes()[:-9])
    return written


CHANGED: dict[str, tuple[str, Callable[[versions.Written], versions.Written], str]] = {
    "cut short": ("checkpoints", cut_short, "damaged"),
    "other content": ("checkpoints", lambda written: written._replace(content="other"), "other content"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_unreadable_file_of_another_environment_is_detected(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, change, message = CHANGED[name]
    write, read = versions.FILES[files]
    monkeypatch.setattr(versions, "FILES", {files: (lambda *args: change(write(*args)), read)})
    outcome = versions.trial(files, HERE, HERE, tmp_path / "run")
    assert outcome.kind == "wrong"
    assert message in outcome.note


def test_failed_pip_install_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(tmp_path)
    for name, value in {"INDEX_URL": "http://127.0.0.1:9/", "RETRIES": "0", "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    assert list(versions.measure(session)) == []
    (note,) = session.notes
    assert note.startswith("versions: not tried, since pip could not install numpy, click, h5py, ")


def test_minimum_versions_are_parsed_from_setup_cfg(tmp_path: Path) -> None:
    lowest = versions.lowest_versions(versions.declared())
    core, photographs = {"numpy", "click", "h5py", "tqdm", "pyyaml"}, {"pillow", "onnxruntime"}
    assert lowest.keys() == {*core, *photographs, "jinja2", "starlette", "uvicorn"}
    (tmp_path / "setup.cfg").write_text(
        "[options]\ninstall_requires =\n    a-b>=1.10\n    a-b>=1.9; python_version >= '3.13'\n"
        "[options.extras_require]\nimages =\n    c >= 3\n    c>=3.5; python_version >= '3.13'\n    d==4\n"
        "report =\nweb =\n"
    )
    requirements = versions.declared(tmp_path / "setup.cfg")
    assert versions.lowest_versions(requirements, "3.11") == {"a-b": "1.10", "c": "3"}
    assert versions.lowest_versions(requirements, "3.13") == {"a-b": "1.10", "c": "3.5"}
