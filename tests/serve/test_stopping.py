"""A signal while requests are pending: those that wait are refused at once, those that run after a while, as JSON."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from serving import Answer, Served, served

from captioner.serve.security import security_headers

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

SLOW = """
import sys, time
from captioner.serve import server
from captioner.serve.service import Service
server.GRACE = {grace}
caption = Service.caption
def slow(*arguments):
    print("begun", file=sys.stderr, flush=True)
    while not {ends}:
        time.sleep(0.05)
    sys.stdin.read(1)
    return caption(*arguments)
Service.caption = slow
from captioner.cli import main
main()
"""
"""The command, whose photographs take until a byte arrives on stdin, or for ever."""
STOPPING = "the server is stopping; try again later"


@contextmanager
def busy(run: Path, photo: bytes, ends: bool, grace: int) -> Iterator[tuple[Served, Future[Answer], Future[Answer]]]:
    """A server with a request that runs and one that waits."""
    code = SLOW.format(ends=ends, grace=grace)
    with served(run, "--workers", 1, code=code, stdin=subprocess.PIPE) as server, ThreadPoolExecutor(2) as pool:
        runs = pool.submit(server.caption, photo)
        server.wait_until(lambda health: health["running"] == 1)
        waits = pool.submit(server.caption, photo)
        server.wait_until(lambda health: health["waiting"] == 1)
        yield server, runs, waits


def connect_for_ever(port: int) -> None:
    while True:  # the socket is closed a moment after the signal
        socket.create_connection(("127.0.0.1", port)).close()


def is_refusal(answer: Answer) -> bool:
    assert answer.headers["retry-after"] == "5"
    assert answer.headers.items() >= {name.lower(): value for name, value in security_headers().items()}.items()
    return (answer.status, answer.error) == (503, STOPPING)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_waits_is_refused_at_once_and_what_runs_is_finished(
    number: int, photo_run: Path, photograph: Path
) -> None:
    with busy(photo_run, photograph.read_bytes(), True, 60) as (server, runs, waits):
        server.process.send_signal(number)
        assert is_refusal(waits.result(60))
        assert not runs.done()
        with pytest.raises(ConnectionRefusedError):
            connect_for_ever(server.port)
        assert server.process.stdin is not None
        server.process.stdin.write("x")
        server.process.stdin.flush()
        assert runs.result(60).status == 200
        assert server.process.wait(60) == 128 + number


def test_what_runs_longer_is_refused_too(photo_run: Path, photograph: Path) -> None:
    with busy(photo_run, photograph.read_bytes(), False, 1) as (server, runs, waits):
        with socket.create_connection(("127.0.0.1", server.port)) as sender:
            sender.sendall(b"POST /caption HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nG")
            assert server.health()["status"] == "ok"
            server.process.send_signal(signal.SIGTERM)
            assert is_refusal(waits.result(60))
            assert is_refusal(runs.result(60))
            sender.settimeout(60)
            assert sender.recv(1000).startswith(b"HTTP/1.1 503 ")
        assert server.process.wait(60) == 143
        assert server.process.stderr is not None
        assert "Traceback" not in server.process.stderr.read()
