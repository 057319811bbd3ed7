"""A server in a process of its own, and requests to it."""

from __future__ import annotations

import http.client
import json
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from eventually import eventually


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

    def caption(self, photo: bytes, **options: object) -> Answer:
        return self.request("POST", f"/caption?{urlencode(options)}", photo)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal; return the exit code, negative for a process that it ended, and what was printed to stderr."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        assert not out
        return self.process.returncode, err


@contextmanager
def served(run: Path, *options: object, code: str = "", **settings: Any) -> Iterator[Served]:
    """Start `captioner serve` on a free port, or `code` that does, and stop it at the end."""
    start = ("-c", code) if code else ("-m", "captioner")
    command = [sys.executable, *start, "serve", str(run), "--port", "0", *map(str, options)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **{**pipes, **settings}) as process:
        assert process.stdout is not None
        try:
            eventually(lambda: select.select([process.stdout], [], [], 0)[0])
            url = process.stdout.readline().strip()
            assert url, process.communicate()[1]
            yield Served(process, url)
        finally:
            process.terminate()
            try:
                process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
