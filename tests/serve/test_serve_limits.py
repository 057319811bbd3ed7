"""Slow photographs, slow clients and full queues: other requests are answered; nothing is written to disk."""

import asyncio
import contextlib
import inspect
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import uvicorn
from PIL import Image
from serving import Served, encoded, large_photograph, picture, received, served, slow_photograph
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from captioner.data.scenes import example
from captioner.serve.security import Guard
from captioner.serve.server import MAX_SMALL, SMALL_CHUNK, SURPLUS, Protocol

IMPATIENT = """
from functools import partial
from captioner.cli import main, serve
serve.Limits = partial(serve.Limits, receive_seconds=0.5, idle_seconds=0.5, connections=8)
main()
"""
"""The command with short times, which have no options."""
WATCHED = """
import os, sys
from captioner.cli import main

def watch(event, arguments):
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        os.write(2, f"written: {arguments[0]}\\n".encode())

from captioner.serve import server
run = server.run
def run_watched(*arguments):
    sys.addaudithook(watch)
    run(*arguments)
server.run = run_watched
main()
"""
"""The command, which reports the files that are opened for writing while it serves."""


@pytest.fixture(scope="module")
def impatient(photo_run: Path) -> Iterator[Served]:
    with served(photo_run, code=IMPATIENT) as running:
        yield running


def test_a_slow_photograph_is_504_and_keeps_its_thread_until_it_is_decoded(photo_run: Path, photograph: Path) -> None:
    with served(photo_run, "--workers", 2, "--timeout", 1) as server:
        expected = 504, "no caption within 1 s; try a smaller photograph, or later"
        assert server.caption(slow_photograph()).problem == expected
        assert server.wait_until(lambda health: health["overdue"] == 1)["running"] == 1
        assert server.send_form("/caption", photograph.read_bytes()).status == 200, "by the other thread"
        server.wait_until(lambda health: not health["overdue"] and not health["running"])


def test_a_full_queue_is_503_and_an_error_of_the_page(photo_run: Path) -> None:
    with served(photo_run, "--workers", 1, "--queue", 1) as server, ThreadPoolExecutor(2) as pool:
        pool.submit(server.caption, slow_photograph())
        server.wait_until(lambda health: health["running"] == 1)
        waiting = pool.submit(server.caption, slow_photograph())
        server.wait_until(lambda health: health["waiting"] == 1)
        answer = server.caption(b"x")
        assert answer.problem == (503, "1 photographs are waiting already; try again later")
        assert answer.headers["retry-after"] == "5"
        assert b"1 photographs are waiting already" in server.send_form("/", b"x").body
        assert not waiting.done()
        server.process.kill()


def test_a_photograph_whose_client_is_gone_leaves_the_queue(photo_run: Path) -> None:
    with served(photo_run, "--workers", 1) as server, ThreadPoolExecutor(2) as pool:
        for _ in range(2):
            pool.submit(server.caption, slow_photograph())
        server.wait_until(lambda health: health["waiting"] == 1)
        with server.connect() as client:
            client.sendall(b"POST /caption HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx")
            server.wait_until(lambda health: health["waiting"] == 2)
        assert server.wait_until(lambda health: health["waiting"] == 0)["running"] == 1
        server.process.kill()


def test_the_internals_of_uvicorn_that_the_time_limits_need() -> None:
    """setup.cfg bounds the version of uvicorn, because they may change with any."""
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        protocol = H11Protocol(uvicorn.Config(Guard, http="h11"), state := ServerState(), {}, loop)
    assert (protocol.loop, protocol.transport, protocol.cycle) == (loop, None, None)
    assert protocol.connections is state.connections
    state_of_cycle = {"response_started", "response_complete", "more_body", "disconnected", "message_event"}
    assert state_of_cycle <= {*RequestResponseCycle.__init__.__code__.co_names}
    overridden = [name for name, method in vars(Protocol).items() if hasattr(H11Protocol, name) and callable(method)]
    parameters = {name: [*inspect.signature(getattr(H11Protocol, name)).parameters] for name in overridden}
    assert parameters == {
        "connection_made": ["self", "transport"],
        "data_received": ["self", "data"],
        "connection_lost": ["self", "exc"],
        "eof_received": ["self"],
        "on_response_complete": ["self"],
        "shutdown": ["self"],
        "pause_writing": ["self"],
        "resume_writing": ["self"],
        "send_400_response": ["self", "msg"],
    }


def send_for_ever(client: socket.socket, request: bytes) -> None:
    while True:
        client.sendall(request * 100)


@pytest.mark.parametrize(
    ("sent", "count", "answer"),
    [
        (b"", 0, b""),
        (b"GET / HT", 0, b""),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", 0, b""),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea", 1, b"HTTP/1.1 200 "),
        (b"POST /caption HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf", 1, b"HTTP/1.1 408 "),
    ],
    ids=["nothing", "method", "headers", "second request", "body"],
)
def test_a_client_that_is_slow_to_send_is_disconnected(
    sent: bytes, count: int, answer: bytes, impatient: Served
) -> None:
    with impatient.connect() as client:
        client.sendall(sent)
        answers = received(client)
    assert answers.count(b"HTTP/1.1") == count
    assert answers.startswith(answer)
    assert (b"the photograph did not arrive within 0.5 s" in answers) is (b"408" in answer)
    assert impatient.request("GET", "/healthz").status == 200


def test_a_client_that_does_not_read_its_answer_is_disconnected(impatient: Served) -> None:
    """Its answers fill the buffers of both sockets, and then wait in the server."""
    with impatient.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with pytest.raises(ConnectionError):
            send_for_ever(client, request)
    assert impatient.request("GET", "/healthz").status == 200


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"], ids=["nonsense", "no host"])
def test_what_is_no_request_is_400(sent: bytes, server: Served) -> None:
    with server.connect() as client:
        client.sendall(sent)
        head, _, body = received(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body) == {"error": "invalid HTTP request"}


def test_connections_beyond_the_limit_get_an_answer_and_many_more_are_reset(impatient: Served) -> None:
    photo = large_photograph()
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(impatient.connect())
        answers = [impatient.caption(photo) for _ in range(3)]
        assert {answer.problem for answer in answers} == {(503, "8 connections are open already; try again later")}
        assert {answer.headers["connection"] for answer in answers} == {"close"}
        for _ in range(SURPLUS * 8 - 8):
            stack.enter_context(impatient.connect())
        assert received(stack.enter_context(impatient.connect())) == b""


def test_a_client_that_sends_all_before_it_reads_gets_the_answer(server: Served) -> None:
    """A connection that is closed with unread bytes would be reset."""
    answer = server.request("POST", "/caption", bytes(30_000_000), {"Connection": "close"})
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    with server.connect() as client:
        client.sendall(b"no request\r\n\r\n" + bytes(3_000_000))
        assert received(client).startswith(b"HTTP/1.1 400 ")


def chunked(*chunks: bytes) -> bytes:
    parts = (b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
    return b"POST /caption HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("size", "count", "reason"),
    [
        (1, MAX_SMALL + 1, b"expected chunks of at least 1,024 bytes, got smaller; set Content-Length"),
        (SMALL_CHUNK - 1, MAX_SMALL + 1, b"expected chunks of at least 1,024 bytes"),
        (1, MAX_SMALL, b"photograph: "),
        (SMALL_CHUNK, 2 * MAX_SMALL, b"photograph: "),
    ],
)
def test_a_body_in_small_chunks_is_refused(size: int, count: int, reason: bytes, server: Served) -> None:
    """Each takes the time of the parser, for which all clients wait; a large chunk before them does not help."""
    with server.connect() as client:
        client.sendall(chunked(bytes(1_000_000), *[bytes(size)] * count))
        client.shutdown(socket.SHUT_WR)
        head, _, body = received(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 4")
    assert json.loads(body)["error"].startswith(reason.decode())


def test_chunks_are_counted_per_body(server: Served) -> None:
    with server.connect() as client:
        client.sendall(chunked(*[b"x"] * MAX_SMALL) * 3)
        client.shutdown(socket.SHUT_WR)
        assert received(client).count(b'"photograph: ') == 3


HEAD = b"POST /caption HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", b"HTTP/1.1 200 "),
        (b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n", b"HTTP/1.1 200 "),
        (HEAD + b"Content-Length: 1\r\n\r\nx", b"HTTP/1.1 422 "),
        (HEAD + b"Content-Length: 9\r\n\r\nhalf", b"HTTP/1.1 400 "),
        (HEAD, b"HTTP/1.1 400 "),
        (b"", b""),
    ],
    ids=["get", "HTTP/1.0", "post", "half a body", "half the headers", "nothing"],
)
def test_a_client_that_closes_its_half_of_the_connection_gets_an_answer(
    sent: bytes, answer: bytes, server: Served
) -> None:
    with server.connect() as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        answers = received(client)
    assert answers.startswith(answer)
    assert answers.count(b"HTTP/1.1") == len(answer and b"x")


@pytest.mark.parametrize("part", [HEAD, HEAD + b"Content-Length: 9\r\n\r\nhalf"], ids=["headers", "body"])
def test_a_part_of_a_second_request_is_400(part: bytes, photograph: Path, server: Served) -> None:
    content = photograph.read_bytes()
    with server.connect() as client:
        client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(content) + content + part)
        client.shutdown(socket.SHUT_WR)
        answers = received(client).split(b"HTTP/1.1 ")
    assert [answer[:3] for answer in answers] == [b"", b"200", b"400"]
    assert answers[-1].endswith(b'{"error": "expected a complete request, got a part"}\n')


def test_a_half_closed_client_keeps_its_place_in_the_queue(photo_run: Path, photograph: Path) -> None:
    """It gets interim responses meanwhile, by which clients that are gone are recognized."""
    content = photograph.read_bytes()
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(content) + content
    with served(photo_run, "--workers", 1) as server, ThreadPoolExecutor(2) as pool, server.connect() as client:
        slow = [pool.submit(server.caption, slow_photograph()) for _ in range(2)]
        server.wait_until(lambda health: health["waiting"] == 1)
        with server.connect() as gone:
            for half_closed in (client, gone):
                half_closed.sendall(request)
                half_closed.shutdown(socket.SHUT_WR)
            server.wait_until(lambda health: health["waiting"] == 3)
        server.wait_until(lambda health: health["waiting"] == 1)
        assert not all(photo.done() for photo in slow), "the client that is gone leaves the queue before its turn"
        *interim, last = received(client).split(b"HTTP/1.1 ")[1:]
    assert {*interim} == {b"100 Continue\r\n\r\n"}
    assert last.startswith(b"200 ")


SMALL_MEMORY = """
from functools import partial
from captioner.cli import main, serve
serve.Limits = partial(serve.Limits, held_bytes=1)
main()
"""
"""The command with memory for one photograph of the maximum size."""


def test_a_photograph_waits_for_memory_and_a_slow_client_occupies_only_what_it_has_sent(photo_run: Path) -> None:
    photo = encoded(picture(400), compress_level=0)
    half = HEAD + b"Content-Length: 900000\r\n\r\n"
    options = ("--max-bytes", 900_000, "--timeout", 5)
    with served(photo_run, *options, code=SMALL_MEMORY) as server, server.connect() as slow, server.connect() as large:
        slow.sendall(half)
        assert server.caption(photo).status == 200
        large.sendall(half + bytes(899_000))
        server.wait_until(lambda health: True)
        assert server.caption(photo).problem == (
            503,
            "the photographs of other requests use all memory; try again later",
        )


@pytest.mark.skipif(sys.platform == "win32", reason="TMPDIR is of POSIX")
def test_photographs_are_not_written_to_disk(photo_run: Path, tmp_path: Path) -> None:
    """Starlette's parser of forms would write this one to a temporary file."""
    content = large_photograph()
    assert len(content) > 5_000_000
    with served(photo_run, code=WATCHED, cwd=tmp_path) as server:
        for answer in (server.caption(content), server.send_form("/caption", content), server.send_form("/", content)):
            assert answer.status == 200
        assert "written" not in server.stop()[1]
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_written_would_be_noticed(tmp_path: Path) -> None:
    """The watcher itself: with the parser of Starlette's kind, which spools to a file."""
    spool = (
        "from captioner.serve import server\nimport tempfile\n"
        "def run(*_):\n    with tempfile.SpooledTemporaryFile(10) as file: file.write(b'x' * 100)\nserver.run = run\n"
    )
    code = spool + WATCHED.replace("main()", "server.run()").replace("from captioner.cli import main\n", "")
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, cwd=tmp_path, timeout=60)
    assert "written: " in done.stderr


def test_many_threads_get_the_answers_to_their_own_photographs(server: Served) -> None:
    photos = [encoded(Image.fromarray(example(0, "train", number).picture)) for number in range(8)]
    alone = [server.caption(photo).json for photo in photos]
    assert len({answer["caption"] for answer in alone}) > 1
    barrier = threading.Barrier(8)

    def ask(number: int) -> object:
        barrier.wait()
        return [server.caption(photos[number]).json for _ in range(10)]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [[answer] * 10 for answer in alone]
