"""captioner serve: its address, its messages, and its end by a signal, also while requests are pending."""

import contextlib
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import Answer, Served, served

from captioner.errors import install_command
from captioner.files import checkpoint


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_server(number: int, photo_run: Path) -> None:
    with served(photo_run) as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert server.stop(number) == (128 + number, "Ctrl-C stops the server\n")


def test_a_port_that_is_taken(photo_run: Path, cli: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cli("serve", photo_run, "--port", port).failed(
            1,
            f"captioner: http://127.0.0.1:{port}/: port in use by another program; choose another with --port, "
            "or any free one with --port 0\n",
        )


@pytest.mark.parametrize("host", ["nowhere.invalid", "203.0.113.7", "a" * 80])
def test_a_host_that_is_none_of_this_machine(host: str, photo_run: Path, cli: Callable[..., Any]) -> None:
    done = cli("serve", photo_run, "--host", host, "--port", 0)
    assert done.code in (1, 2)
    done.failed(done.code, "try --host 127.0.0.1\n")


def test_an_unknown_run(cli: Callable[..., Any], tmp_path: Path) -> None:
    cli("serve", tmp_path / "nothing", "--port", 0).failed(1, f"captioner: {tmp_path / 'nothing'}")


def test_a_model_without_a_known_encoder(coco_run: Path, cli: Callable[..., Any]) -> None:
    cli("serve", coco_run, "--port", 0).failed(2, "which is not a known encoder; try --encoder")


def test_an_option_that_is_not_used(photo_run: Path, cli: Callable[..., Any]) -> None:
    cli("serve", photo_run, "-o", "train.epochs=3").failed(2, "has no effect on serve")


@pytest.mark.parametrize(
    ("modules", "extras"), [(["uvicorn"], "web"), (["PIL"], "images"), (["PIL", "starlette", "jinja2"], "images,web")]
)
def test_missing_libraries_are_one_error(
    modules: list[str], extras: str, photo_run: Path, shell: Callable[..., Any]
) -> None:
    code = f"import sys; sys.modules.update(dict.fromkeys({modules!r}))\nfrom captioner.cli import main\nmain()"
    done = shell("serve", photo_run, "--port", 0, code=code)
    install = f"try {install_command(extras)}"
    assert install.endswith(f"captioner[{extras}]'")
    expected = f"captioner: needs {', '.join(modules)}: not installed; {install}\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


def test_a_host_in_the_network_is_warned_of(photo_run: Path) -> None:
    with served(photo_run, "--host", "0.0.0.0") as server:
        assert server.url.startswith("http://0.0.0.0:")
        _, err = server.stop()
    assert err.splitlines()[0] == (
        "captioner: warning: --host 0.0.0.0: everyone who can reach this machine can use the server, unencrypted"
    )


def test_a_failure_of_the_model_is_reported_to_the_operator_alone(
    photo_run: Path, photograph: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(photo_run, tmp_path / "run"))
    saved = checkpoint.load(run / "best.h5")
    for name in ("b_vocab", "W_vocab"):
        saved.params[name][...] = np.float32(3e38)
    checkpoint.save(run / "best.h5", saved)
    with served(run) as server:
        status, error = server.caption(photograph.read_bytes()).problem
        _, err = server.stop()
    assert status == 500
    assert error.startswith("internal error while captioning this photograph")
    assert str(tmp_path) not in error
    assert f"captioner: {run / 'best.h5'}: expected finite log-probabilities" in err
    assert "Traceback" not in err


SLOW = """
import sys, time
from captioner.serve import server
from captioner.serve.app import Site
server.GRACE = {grace}
caption = Site._caption
def slow(*arguments):
    print("begun", file=sys.stderr, flush=True)
    while not {ends}:
        time.sleep(0.05)
    sys.stdin.read(1)
    return caption(*arguments)
Site._caption = slow
from captioner.cli import main
main()
"""
"""The command, whose photographs take until a byte arrives on stdin, or for ever."""


@contextlib.contextmanager
def busy(run: Path, photo: bytes, ends: bool, grace: int) -> Iterator[tuple[Served, Future[Answer]]]:
    """A server that captions a photograph."""
    code = SLOW.format(ends=ends, grace=grace)
    with served(run, code=code, stdin=subprocess.PIPE) as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.caption, photo)
        assert server.process.stderr is not None
        while server.process.stderr.readline() != "begun\n":
            pass
        yield server, answer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_runs_is_finished_when_the_server_stops(number: int, photo_run: Path, photograph: Path) -> None:
    with busy(photo_run, photograph.read_bytes(), True, 60) as (server, answer):
        server.process.send_signal(number)
        with pytest.raises(ConnectionRefusedError):
            connect_for_ever(server)
        assert not answer.done()
        assert server.process.stdin is not None
        server.process.stdin.write("x")
        server.process.stdin.flush()
        assert answer.result(60).status == 200
        assert server.process.wait(60) == 128 + number


def connect_for_ever(server: Served) -> None:
    while True:  # the socket is closed a moment after the signal
        with contextlib.suppress(ConnectionResetError):
            server.connect().close()


def test_what_runs_longer_does_not_keep_the_server(photo_run: Path, photograph: Path) -> None:
    with busy(photo_run, photograph.read_bytes(), False, 1) as (server, answer):
        server.process.send_signal(signal.SIGTERM)
        assert answer.result(60).problem == (503, "the server is stopping; try again later")
        assert server.process.wait(60) == 143
        assert server.process.stderr is not None
        assert "Traceback" not in server.process.stderr.read()
