"""captioner monitor: follows real training runs, and ends with Ctrl-C."""

import json
import os
import shutil
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from monitoring import monitor, process, read, stop, training, wait_for

from captioner.monitor.activity import LOCKS

ENDLESS = ("-o", "train.epochs=1000000", "-o", "train.log_every=1")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def last_step(run: Path) -> int:
    return int(json.loads((run / "history.jsonl").read_text().splitlines()[-2])["step"])


@pytest.mark.skipif(not LOCKS.exists(), reason="elsewhere, a killed run is detected only after a while")
def test_a_training_is_followed_from_its_begin_to_its_end(small_options: tuple[str, ...], tmp_path: Path) -> None:
    run = tmp_path / "my run"
    run.mkdir()
    with monitor(run) as url:
        assert "Waiting for training: the folder has no run yet." in read(url)
        with training(*small_options, *ENDLESS, "--run", run) as trained:
            wait_for(lambda: "Training is running." in read(url))
            wait_for(lambda: "until " in read(url + "status"))
            wait_for(lambda: "Captions of fixed images by the checkpoint of step" in read(url + "captions"))
            assert "continue with captioner train --resume" in stop(trained)
        resume = f"captioner train --resume &#39;{run}&#39;"
        wait_for(lambda: f"Training was stopped; continue with {resume}" in read(url))
        step = last_step(run)
        with training("--resume", run) as trained:
            wait_for(lambda: "Training is running." in read(url))
            wait_for(lambda: last_step(run) > step + 2)
            trained.kill()
            trained.wait(120)
            wait_for(lambda: f"Training was killed, or its process is not visible; continue with {resume}" in read(url))
        shutil.rmtree(run)
        assert f"{run}: folder not found; it was moved or deleted." in read(url)


def test_the_port_is_taken(own_run: Path, cli: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = cli("monitor", own_run, "--port", port)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"captioner: http://127.0.0.1:{port}/: port in use by another program; choose another with --port, "
        "or any free one with --port 0\n"
    )


def test_requests_of_web_sites_are_refused(own_run: Path) -> None:
    with monitor(own_run) as url:
        for change in ({"headers": {"Host": "evil.example"}}, {"method": "POST", "data": b""}):
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(urllib.request.Request(url, **change), timeout=60)  # type: ignore[arg-type]
            assert caught.value.code == (421 if "headers" in change else 405)
            assert b"own_run" not in caught.value.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_at_once(number: int, own_run: Path) -> None:
    with process("monitor", own_run, "--port", 0) as started:
        assert started.stderr is not None
        started.stderr.readline()
        started.send_signal(number)
        _, err = started.communicate(timeout=60)
        assert started.returncode == {signal.SIGINT: 130, signal.SIGTERM: -signal.SIGTERM}[number]
        assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no/gone"], "no/gone: folder not found; expected a run folder"),
        (["done/last.h5"], "done/last.h5: expected a run folder, got a file; try captioner monitor done"),
        (["photos"], "photos: expected a run folder from `captioner train`, got one with other files"),
        (["done", "--images", "x"], "x: folder not found; name the folder of the photographs with --images"),
    ],
)
def test_a_folder_that_is_no_run(words: list[str], message: str, own_run: Path, cli: Callable[..., Any]) -> None:
    own_run.rename("done")
    Path("photos").mkdir()
    Path("photos", "a.png").touch()
    done = cli("monitor", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"captioner: {message}")
    assert done.err.count("\n") == 1


def test_a_folder_that_does_not_exist_yet_is_waited_for(small_options: tuple[str, ...], tmp_path: Path) -> None:
    run = tmp_path / "later"
    with process("monitor", run, "--port", 0) as started:
        assert started.stderr is not None
        url = started.stderr.readline().split()[1]
        assert started.stderr.readline() == f"{run}: not found yet; waiting for a training run\n"
        assert "Waiting for training: the folder does not exist yet." in read(url)
        with training(*small_options, *ENDLESS, "--run", run):
            wait_for(lambda: "Training is running." in read(url))
        stop(started)


BROWSER = """#!/bin/sh
echo "$1" > opened
"""


@pytest.mark.skipif(os.name == "nt", reason="the browser is a shell script")
def test_open_starts_the_browser(own_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = tmp_path / "browser"
    browser.write_text(BROWSER)
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    with monitor(own_run, "--open") as url:
        wait_for(lambda: Path("opened").exists() and Path("opened").read_text() == f"{url}\n")
