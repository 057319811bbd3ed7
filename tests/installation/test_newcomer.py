"""Captioner as a new user installs it: the README works with the wheel, and the tests with the source archive."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from archives import ROOT, Archives, run, unpack, user_environment
from pages import PAGES
from sandbox import Sandbox

pytestmark = pytest.mark.environments
README = (ROOT / "README.md").read_text()
WRITTEN_BY_MAKE = ("make", "git")
"""Commands that need a checkout."""
OFFLINE = ("unshare", "--map-root-user", "--net")
WITH_THE_DEFAULT_MODEL = """
import fcntl, json, socket, struct, subprocess, sys, urllib.request
import captioner
if "offline" in sys.argv:
    fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh", b"lo", 1))  # SIOCSIFFLAGS with IFF_UP
text = captioner.load().caption("photo.jpg").text
with subprocess.Popen(["captioner", "serve", "--port", "0"], stdout=subprocess.PIPE, text=True) as server:
    try:
        url = f"{server.stdout.readline().strip()}caption"
        with urllib.request.urlopen(url, open("photo.jpg", "rb").read()) as answer:
            served = json.load(answer)["caption"]
    finally:
        server.terminate()
print(json.dumps([captioner.__file__, text, served]))
"""


class Done(NamedTuple):
    """The result of a command."""

    code: int
    out: str
    err: str


def lines(*languages: str) -> Iterator[str]:
    """Commands of the README's code blocks."""
    for block in re.findall(rf"^```(?:{'|'.join(languages)})\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                yield line.removeprefix("$ ")


def installed(environment: Path) -> Callable[..., Done]:
    """Return a function that runs the installed command as a process."""

    def call(*words: object) -> Done:
        command = [str(environment / "bin" / "captioner"), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=user_environment(environment))
        return Done(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, of a user with an album."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setenv("CAPTIONER_ALBUM", str(tmp_path / "album.db"))
    return tmp_path / "empty"


def test_every_command_of_the_readme_runs_with_the_wheel(
    archives: Archives, small: tuple[str, ...], tiny_run: Path, write_coco: Callable[..., Path], folder: Path
) -> None:
    environment = folder.parent / "captioner-env"
    sandbox = Sandbox(installed(environment), small, tiny_run, write_coco)
    ran = set()
    for line in lines("console"):
        program, *_ = words = shlex.split(line, comments=True)
        if program == "captioner":
            sandbox.run(words)
            ran.add(words[1])
        elif program not in WRITTEN_BY_MAKE:
            shell = line.replace("python3", shlex.quote(sys.executable)).replace("'.[", f"'{archives.wheel}[")
            run("bash", "-c", shell, env=user_environment(environment))
    assert ran >= {"caption", "search", "serve", "prepare", "train", "gradcheck", "inspect"}
    check = f"import captioner\nassert captioner.__file__.startswith({str(environment)!r})"
    run(environment / "bin" / "python", "-c", check)


PIP = sorted({line for page in PAGES for line in re.findall(r"\bpip install (?!--no-index)[^`\n]+", page.read_text())})


def test_the_first_commands_of_the_readme_run_as_printed_on_a_new_machine(archives: Archives, tmp_path: Path) -> None:
    """In an unpacked archive, in a path with a space, with an empty home and without a cache of pip.

    `.ci/run` runs the third one, `make test`.
    """
    source, home = unpack(archives.sdist, tmp_path / "my captioner"), tmp_path / "home"
    home.mkdir()
    first = [line.split()[:2] for line in lines("console")][:3]
    assert first == [["make", target] for target in ("caption", "demo", "test")]

    def made(*words: str) -> str:
        return run("make", *words, cwd=source, env={**user_environment(), "HOME": home, "PIP_NO_CACHE_DIR": "1"})

    captioned = re.findall(r"^docs/photos/(\w+)\.jpg\t\w+ ", made("caption"), re.MULTILINE)
    assert captioned == sorted(photo.stem for photo in (ROOT / "docs/photos").glob("*.jpg"))
    assert re.search(r"^val: .* [5-9]\d\.\d% of captions fully correct$", made("demo"), re.MULTILINE)


def test_every_pip_install_of_the_pages_runs_in_an_unpacked_archive(archives: Archives, tmp_path: Path) -> None:
    source, environment = unpack(archives.sdist, tmp_path / "my captioner"), tmp_path / "environment"
    run(sys.executable, "-m", "venv", environment)
    assert len(PIP) > 3
    for line in PIP:
        run("bash", "-c", line, cwd=source, env=user_environment(environment))


def test_the_wheel_captions_photographs_with_the_default_model_offline(
    archives: Archives, uv: Callable[..., str], folder: Path
) -> None:
    environment = folder / ".venv"
    uv("venv", "--python", sys.executable, environment)
    uv("pip", "install", "--python", environment / "bin" / "python", f"{archives.wheel}[images,web]")
    shutil.copy(ROOT / "docs" / "photos" / "chelsea.jpg", "photo.jpg")
    # where no namespace can be made, the test has the network
    can_isolate = (
        shutil.which(OFFLINE[0]) and subprocess.run([*OFFLINE, "true"], stderr=subprocess.DEVNULL).returncode == 0
    )
    python = (environment / "bin" / "python", "-c", WITH_THE_DEFAULT_MODEL)
    command = (*OFFLINE, *python, "offline") if can_isolate else python
    file, text, served = json.loads(run(*command, env=user_environment(environment)).splitlines()[-1])
    assert file.startswith(str(environment))
    assert "cat" in text.split()
    assert served == text


def test_the_command_in_the_message_of_a_missing_library_installs_it_when_the_wheel_is_gone(
    archives: Archives, uv: Callable[..., str], small: tuple[str, ...], folder: Path
) -> None:
    environment = folder / ".venv"
    uv("venv", "--seed", "--python", sys.executable, environment)
    wheel = Path(shutil.copy(archives.wheel, folder))
    uv("pip", "install", "--python", environment / "bin" / "python", wheel)
    wheel.unlink()
    captioner: Callable[..., Any] = installed(environment)
    Sandbox(captioner, small, folder, lambda *_: folder).provide_data({"sources": ["photos/captions.csv"]})
    prepare = ("prepare", "photos/captions.csv", "--output", "birds.h5", "--min-count", "1")
    failed = captioner(*prepare)
    assert failed.code == 2
    (command,) = re.findall(r"(pip install .*)\n", failed.err)
    run("bash", "-c", f"{environment / 'bin' / 'python'} -m {command}")
    assert captioner(*prepare).code == 0


def test_the_tests_of_the_source_archive_pass(archives: Archives, uv: Callable[..., str], tmp_path: Path) -> None:
    """The smoke tests, or all tests if the variable FULL is set."""
    source = unpack(archives.sdist, tmp_path / "source")
    environment = tmp_path / "environment"
    uv("venv", "--python", sys.executable, environment)
    uv("pip", "install", "--python", environment / "bin" / "python", f"{archives.sdist}[test]")
    selection = ("--numprocesses", "2") if os.environ.get("FULL") else ("-m", "smoke")
    run(environment / "bin" / "python", "-m", "pytest", *selection, cwd=source, timeout=3600)
