"""A server in a process of its own, and requests to it."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from PIL import Image

from captioner.images.structure import MAX_SCANS

BOUNDARY = "a-boundary"
WAYS = ("body", "form")
"""How a photograph is sent."""


class Answer(NamedTuple):
    """The answer to a request."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)

    @property
    def problem(self) -> tuple[int, str]:
        """The status and the message of an error."""
        assert self.json.keys() == {"error"}
        return self.status, self.json["error"]


class Served(NamedTuple):
    """A running server: its process and the address that it printed."""

    process: subprocess.Popen[str]
    url: str

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def request(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, names, answer.read())
        finally:
            connection.close()

    def caption(self, photo: bytes, name: str = "", way: str = "body", **options: object) -> Answer:
        """Send a photograph as the body, with options in the query, or in a form."""
        if way == "form":
            return self.send_form("/caption", photo, name, **options)
        return self.request("POST", f"/caption?{urlencode({**options, 'image': name})}", photo)

    def send_form(self, path: str, photo: bytes | None, name: str = "photo.png", **options: object) -> Answer:
        """Send the form of the page."""
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        return self.request("POST", path, form(photo, name, **options), headers)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def wait_until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the answer of /healthz is as expected."""
        deadline = time.monotonic() + 60
        while not holds(health := self.request("GET", "/healthz").json):
            assert time.monotonic() < deadline, health
            time.sleep(0.01)
        return health

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal; return the exit code, and what was printed to stderr."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        assert not out
        return self.process.returncode, err


def received(client: socket.socket) -> bytes:
    """Everything until the server closes the connection."""
    parts = []
    with suppress(ConnectionResetError):
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts)


def form(photo: bytes | None, name: str = "photo.png", **options: object) -> bytes:
    """Encode a form as a browser does."""
    parts = [(f'name="{key}"', str(value).encode()) for key, value in options.items()]
    if photo is not None:
        parts.append((f'name="photo"; filename="{name}"', photo))
    texts = [
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; {names}\r\n\r\n".encode() + content + b"\r\n"
        for names, content in parts
    ]
    return b"".join((*texts, f"--{BOUNDARY}--\r\n".encode()))


@contextmanager
def served(run: Path, *options: object, code: str = "", **settings: Any) -> Iterator[Served]:
    """Start `captioner serve` on a free port, or `code` that does, and stop it at the end."""
    start = ("-c", code) if code else ("-m", "captioner")
    command = [sys.executable, *start, "serve", str(run), "--port", "0", *map(str, options)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **{**pipes, **settings}) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            assert url, process.communicate()[1]
            yield Served(process, url)
        finally:
            process.terminate()
            try:
                process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def picture(side: int = 48) -> Image.Image:
    """A square of two colours."""
    image = Image.new("RGB", (side, side), (200, 30, 30))
    image.paste((30, 30, 200), (0, 0, side // 2, side))
    return image


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Encode a photograph."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@cache
def with_scans(content: bytes, count: int) -> bytes:
    """Repeat the last scan of a progressive JPEG."""
    scan = b"\xff\xda"
    last = content.rindex(scan)
    return content[:-2] + content[last:-2] * (count - content.count(scan)) + content[-2:]


def slow_photograph() -> bytes:
    """A small photograph that takes seconds to decode: a JPEG with as many scans as are accepted."""
    return with_scans(encoded(picture(7000), "JPEG", progressive=True, quality=50), MAX_SCANS)


def large_photograph(side: int = 1400) -> bytes:
    """A photograph of noise, whose file is as large as its pixels."""
    return encoded(Image.frombytes("RGB", (side, side), os.urandom(3 * side * side)), compress_level=0)
