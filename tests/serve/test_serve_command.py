"""captioner serve: its address, its messages, and its end by a signal, also while requests are pending."""

import contextlib
import json
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from eventually import eventually
from serving import Answer, Served, served

from captioner.errors import install_command
from captioner.photos.serve import MAX_CONNECTIONS

ENDS = {signal.SIGINT: 130, signal.SIGTERM: -signal.SIGTERM, signal.SIGHUP: -signal.SIGHUP}
"""The exit codes after signals; a negative one is that of a process that a signal ended."""


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_stops_the_server(number: int, photo_run: Path) -> None:
    with served(photo_run) as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert server.stop(number) == (ENDS[number], "Ctrl-C stops the server\n")


def test_a_port_that_is_taken(photo_run: Path, cli: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = f"--port {port}: Address already in use; try another port, or any free one with --port 0"
        cli("serve", photo_run, "--port", port).failed(1, f"captioner: {message}\n")


def test_a_model_without_a_known_encoder(coco_run: Path, cli: Callable[..., Any]) -> None:
    cli("serve", coco_run, "--port", 0).failed(2, "which is not a known encoder; try --encoder")


@pytest.mark.parametrize(
    ("modules", "extras"), [(["uvicorn"], "web"), (["PIL"], "images"), (["PIL", "starlette", "jinja2"], "images,web")]
)
def test_missing_libraries_are_one_error(
    modules: list[str], extras: str, photo_run: Path, shell: Callable[..., Any]
) -> None:
    code = f"import sys; sys.modules.update(dict.fromkeys({modules!r}))\nfrom captioner.cli import main\nmain()"
    done = shell("serve", photo_run, "--port", 0, code=code)
    expected = f"captioner: needs {', '.join(modules)}: not installed; try {install_command(extras)}\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


SLOW = """
import sys, time
from captioner.photos import serve
serve.GRACE = {grace}
caption = serve.Site._caption
def slow(*arguments):
    print("begun", file=sys.stderr, flush=True)
    while not {ends}:
        time.sleep(0.05)
    sys.stdin.read(1)
    return caption(*arguments)
serve.Site._caption = slow
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
        assert "begun\n" in iter(server.process.stderr.readline, "")  # reads up to this line
        yield server, answer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_runs_is_finished_when_the_server_stops(number: int, photo_run: Path, photograph: Path) -> None:
    with busy(photo_run, photograph.read_bytes(), True, 60) as (server, answer):
        server.process.send_signal(number)
        eventually(lambda: refuses(server))  # the socket is closed a moment after the signal
        assert not answer.done()
        assert server.process.stdin is not None
        server.process.stdin.write("x")
        server.process.stdin.flush()
        assert answer.result(60).status == 200
        assert server.process.wait(60) == ENDS[number]


def refuses(server: Served) -> bool:
    try:
        server.connect().close()
    except ConnectionError as error:
        return isinstance(error, ConnectionRefusedError)
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_runs_longer_does_not_keep_the_server(number: int, photo_run: Path, photograph: Path) -> None:
    with busy(photo_run, photograph.read_bytes(), False, 1) as (server, answer):
        server.process.send_signal(number)
        assert server.process.wait(60) == ENDS[number]
        assert answer.result(60).problem == (503, "the server was stopped")
        assert server.process.stderr is not None
        assert "Traceback" not in server.process.stderr.read()


def test_what_waits_for_a_client_that_has_left_is_dropped(photo_run: Path, photograph: Path) -> None:
    with busy(photo_run, photograph.read_bytes(), True, 60) as (server, answer):
        with server.connect() as client:
            client.sendall(b"POST /caption HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx")
        assert server.request("GET", "/").status == 200  # the server has noticed
        assert server.process.stdin is not None
        server.process.stdin.write("xxx")
        server.process.stdin.flush()
        assert answer.result(60).status == 200
        assert server.caption(photograph.read_bytes()).status == 200
        assert server.stop()[1] == "begun\n", "that of the last photograph alone"


PATCHED = "from captioner.photos import serve; serve.GRACE, serve.IDLE = {}; from captioner.cli import main; main()"
UPLOAD = b"POST /caption HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx"


def test_an_upload_that_the_stop_ends_is_503(photo_run: Path) -> None:
    with served(photo_run, code=PATCHED.format("1, 600")) as server, server.connect() as client:
        client.sendall(UPLOAD)
        assert server.request("GET", "/").status == 200  # the server has read the first byte
        server.process.terminate()
        head, body = client.makefile("rb").read().split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert json.loads(body) == {"error": "the server was stopped"}


def test_connections_that_send_nothing_are_closed(photo_run: Path) -> None:
    """One that is silent, and others that stop in a header, in a photograph, and in one after a first request."""
    with served(photo_run, code=PATCHED.format("5, 0.3")) as server:
        for start in b"", b"GET / HTTP/1.1\r\nHo", UPLOAD, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + UPLOAD:
            with server.connect() as client, contextlib.suppress(ConnectionError):  # closed before it sends: a reset
                client.sendall(start)
                client.makefile("rb").read()  # until the server closes the connection


def test_more_connections_than_the_maximum_are_503_until_one_is_closed(photo_run: Path, photograph: Path) -> None:
    with served(photo_run, code=PATCHED.format("5, 600")) as server:
        with ExitStack() as stack:
            for _ in range(MAX_CONNECTIONS):
                stack.enter_context(server.connect())
            assert server.caption(photograph.read_bytes()).status == 503
        eventually(lambda: server.caption(photograph.read_bytes()).status == 200)  # the server notices a moment later
