"""A server in a process of its own, and requests to it."""

from __future__ import annotations

import http.client
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from PIL import Image

from captioner.images.photo import MAX_SCANS
from faults.photographs import with_scans

BOUNDARY = "a-boundary"


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
    def error(self) -> str:
        assert self.json.keys() == {"error"}
        message: str = self.json["error"]
        return message


class Served(NamedTuple):
    """A running server: its process and the address that it printed."""

    process: subprocess.Popen[str]
    url: str

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, names, answer.read())
        finally:
            connection.close()

    def caption(self, photo: bytes, **options: object) -> Answer:
        """Send a photograph as the body, with options in the query."""
        return self.request("POST", f"/caption?{urlencode(options)}", photo)

    def send_form(self, path: str, photo: bytes | None, name: str = "photo.png", **options: object) -> Answer:
        """Send the form of the page."""
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        return self.request("POST", path, form(photo, name, **options), headers)

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = self.request("GET", "/healthz").json
        return found

    def wait_until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the answer of /healthz is as expected."""
        deadline = time.monotonic() + 60
        while not holds(health := self.health()):
            assert time.monotonic() < deadline, health
            time.sleep(0.01)
        return health


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
def slow_photograph() -> bytes:
    """A small photograph that takes seconds to decode: a JPEG with as many scans as are accepted."""
    return with_scans(encoded(picture(7000), "JPEG", progressive=True, quality=50), MAX_SCANS)


def large_photograph(side: int = 1400) -> bytes:
    """A photograph of noise, whose file is as large as its pixels."""
    return encoded(Image.frombytes("RGB", (side, side), os.urandom(3 * side * side)), compress_level=0)
