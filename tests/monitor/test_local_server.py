"""The local server: its paths alone, GET and HEAD alone, this machine alone."""

import http.client
import socket
import threading
from collections.abc import Iterator

import pytest
from monitoring import wait_for

from captioner.errors import CaptionerError
from captioner.monitor import server as server_module
from captioner.monitor.server import CONNECTIONS, Content, LocalServer
from captioner.pages.http_headers import security_headers

PAGE = Content(b"<p>hello</p>", "text/html; charset=utf-8", "v1", "default-src 'self'")
LOCAL = ["127.0.0.1", "localhost", "LocalHost:9999", "[::1]", "localhost."]
FOREIGN = [
    "evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example/127.0.0.1",
    "127.0.0.2", "0.0.0.0", "localhost:80:80", "localhost:", "user@localhost", "localhost, evil.example", "", "[::1",
    "127.1", "local host",
]  # fmt: skip


def fail() -> Content:
    raise ZeroDivisionError("a bug")


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer(0, {"/": lambda: PAGE, "/part": lambda: PAGE._replace(tag=""), "/bug": fail}) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def send(server: LocalServer, text: str) -> bytes:
    """Send raw bytes, and return the whole answer."""
    with socket.create_connection(server.server_address, timeout=20) as connection:  # type: ignore[arg-type]
        connection.sendall(text.encode())
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def request(server: LocalServer, method: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=20)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer.status, dict(answer.headers), answer.read()


def test_only_this_machine_can_connect(server: LocalServer) -> None:
    host, port = server.server_address[:2]
    assert (host, server.url) == ("127.0.0.1", f"http://127.0.0.1:{port}/")
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port), timeout=20):
        pass


def test_pages_are_sent_with_their_policy(server: LocalServer) -> None:
    status, headers, body = request(server, "GET", "/")
    assert (status, body) == (200, PAGE.body)
    assert headers["Content-Security-Policy"] == "default-src 'self'; frame-ancestors 'none'"
    assert (headers["Content-Type"], headers["ETag"]) == (PAGE.kind, '"v1"')
    assert headers.items() >= security_headers(PAGE.policy).items()
    assert headers["Cache-Control"] == "no-store"
    assert headers["Server"].strip() == "captioner", "no version of Python"
    assert "ETag" not in request(server, "GET", "/part")[1]


def test_head_sends_headers_only(server: LocalServer) -> None:
    status, headers, body = request(server, "HEAD", "/")
    assert (status, headers["Content-Length"], body) == (200, "12", b"")


def test_a_known_version_is_not_sent_again(server: LocalServer) -> None:
    assert request(server, "GET", "/", If_None_Match='"v1"')[::2] == (304, b"")
    assert request(server, "GET", "/", If_None_Match='"v0"')[::2] == (200, PAGE.body)


@pytest.mark.parametrize("path", ["/other", "/part/", "/%2e%2e/etc/passwd", "//other", "/?x=1", "http://evil/", "*"])
def test_there_are_no_other_paths(path: str, server: LocalServer) -> None:
    assert send(server, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith(b"HTTP/1.0 404 ")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "X"])
def test_other_methods_are_refused(method: str, server: LocalServer) -> None:
    status, headers, body = request(server, method, "/", Content_Length="0")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert body == b"405 Method Not Allowed: expected GET or HEAD\n"
    assert headers.items() >= security_headers().items()
    assert "default-src 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("host", LOCAL)
def test_local_hosts_are_accepted(host: str, server: LocalServer) -> None:
    assert request(server, "GET", "/", Host=host)[0] == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("host", FOREIGN)
def test_foreign_hosts_are_refused(host: str, method: str, server: LocalServer) -> None:
    answer = send(server, f"{method} / HTTP/1.1\r\nHost: {host}\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 421 ")
    assert PAGE.body not in answer


@pytest.mark.parametrize(
    "headers", ["", "Host: localhost\r\nHost: evil.example\r\n", "Host: localhost\r\nHost: localhost\r\n"]
)
def test_exactly_one_host_is_expected(headers: str, server: LocalServer) -> None:
    assert send(server, f"GET / HTTP/1.1\r\n{headers}\r\n").startswith(b"HTTP/1.0 421 ")


@pytest.mark.parametrize(
    "text", ["", "\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\0\xff\r\n\r\n", f"GET /{'x' * 70000}"]
)
def test_garbage_does_not_stop_the_server(text: str, server: LocalServer) -> None:
    assert PAGE.body not in send(server, text)
    assert request(server, "GET", "/")[0] == 200


def test_a_bug_is_an_error_of_one_request(server: LocalServer, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, body = request(server, "GET", "/bug")
    assert (status, b"a bug" in body) == (500, False)
    assert request(server, "GET", "/")[0] == 200
    printed: list[str] = []
    wait_for(lambda: printed.append(capsys.readouterr().err) or "ZeroDivisionError: a bug" in "".join(printed))


def test_a_used_port_is_one_clear_line(server: LocalServer) -> None:
    port = server.server_address[1]
    with pytest.raises(CaptionerError) as caught:
        LocalServer(port, {})
    assert caught.value.exit_code == 1
    assert str(caught.value) == (
        f"http://127.0.0.1:{port}/: port in use by another program; "
        "choose another with --port, or any free one with --port 0"
    )


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little time, which the server reads for each connection."""
    monkeypatch.setattr(server_module, "TIMEOUT", 0.5)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("begin", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_a_client_that_dribbles_is_disconnected(begin: bytes, server: LocalServer) -> None:
    with socket.create_connection(server.server_address, timeout=60) as client:  # type: ignore[arg-type]
        client.sendall(begin)
        client.settimeout(0.05)
        with pytest.raises((ConnectionError, EOFError)):
            dribble(client)
    assert request(server, "GET", "/")[0] == 200


def dribble(client: socket.socket) -> None:
    """Send a byte every moment, until the server closes the connection."""
    while True:
        client.sendall(b"G")
        try:
            if not client.recv(1000):
                raise EOFError
        except TimeoutError:
            pass


def test_connections_are_bounded(server: LocalServer) -> None:
    clients = [socket.create_connection(server.server_address, timeout=60) for _ in range(CONNECTIONS)]  # type: ignore[arg-type]
    try:
        with socket.create_connection(server.server_address, timeout=60) as other:  # type: ignore[arg-type]
            answer = b"".join(iter(lambda: other.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.0 503 ")
        assert b"\r\nX-Content-Type-Options: nosniff\r\n" in head
        assert body == b"503 Service Unavailable: 64 connections are open already\n"
    finally:
        for client in clients:
            client.close()
    wait_for(lambda: send(server, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith(b"HTTP/1.0 200 "))
