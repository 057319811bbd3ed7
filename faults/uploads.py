"""Hostile requests to `captioner serve`: bombs, damaged photographs and forms, huge headers, slow clients."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

from faults.materials import damaged
from faults.photographs import photograph, write_flat
from faults.session import ROOT, SMALL, Figure, Row, Session, captioner, row, settings
from faults.watch import Outcome, Tally

PATIENCE = 20.0
HELD = 40
"""Slow clients that are kept at one time."""
TOO_LARGE = 8000
"""Side of photographs with more pixels than the server accepts."""
HEAD = "POST /caption HTTP/1.1\r\nHost: localhost\r\n"
LEAK = re.compile(rf"Traceback|site-packages|0x[0-9a-f]{{8}}|{re.escape(str(ROOT))}")
FORM = {"Content-Type": "multipart/form-data; boundary=b"}
PART = b'--b\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n'
KINDS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")


@dataclass
class Attack:
    """Sends hostile requests to a server."""

    port: int
    bombs: Mapping[str, bytes]
    seed: int
    slow: list[socket.socket] = field(default_factory=list)

    def __call__(self, number: int) -> Outcome:
        rng = np.random.default_rng((self.seed, number, 7))
        name, attack = list(ATTACKS.items())[number % len(ATTACKS)]
        try:
            return attack(self, rng)._replace(note=name)
        except TimeoutError:
            return Outcome("hung", name)
        except (http.client.HTTPException, OSError):
            return Outcome("disconnected")

    def answer(
        self, body: bytes, headers: Mapping[str, str] | None = None, path: str = "/caption"
    ) -> tuple[int, bytes]:
        """Send a request; return the status and the body of the answer."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            connection.request("POST", path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read()

    def send(self, *request: Any, **options: Any) -> Outcome:
        """Send a request, and check that the answer is a caption, or an error without a path or a traceback."""
        return judge(*self.answer(*request, **options))

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def send_raw(self, content: bytes) -> Outcome:
        """Send bytes that may be no request, and read the answer."""
        with self.connect() as client:
            client.sendall(content)
            client.shutdown(socket.SHUT_WR)
            answer = b""
            while part := client.recv(65536):
                answer += part
        head, _, body = answer.partition(b"\r\n\r\n")
        return judge(int(head.split()[1]), body) if answer else Outcome("disconnected")

    def hold(self, content: bytes) -> Outcome:
        """Send a part of a request, and keep the connection open."""
        self.slow.append(client := self.connect())
        client.sendall(content)
        if len(self.slow) > HELD:
            self.slow.pop(0).close()
        return Outcome("held open")

    def vanish(self, content: bytes) -> Outcome:
        """Send a part of a request, and close the connection."""
        with self.connect() as client:
            client.sendall(content)
        return Outcome("disconnected")


def judge(status: int, body: bytes) -> Outcome:
    """Classify an answer."""
    if LEAK.search(body.decode("utf-8", "replace")):
        return Outcome("messy", body[:200].decode("utf-8", "replace"))
    record = json.loads(body)
    if status == 200:
        return Outcome("captioned" if "caption" in record else "wrong")
    return Outcome("refused" if 400 <= status < 500 or status in (503, 504) else "wrong", f"{status} {record}")


def _bomb(attack: Attack, rng: np.random.Generator) -> Outcome:
    return attack.send(attack.bombs[str(rng.choice(sorted(attack.bombs)))])


def _damaged(attack: Attack, rng: np.random.Generator) -> Outcome:
    whole = photograph(str(rng.choice(KINDS)))
    return attack.send(damaged(whole, [whole[::-1]], rng))


def _random(attack: Attack, rng: np.random.Generator) -> Outcome:
    start = (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF", b"%PDF-1.7", b"PK\3\4", b"<svg>")
    return attack.send(start[int(rng.integers(len(start)))] + rng.bytes(int(rng.integers(4000))))


def _form(attack: Attack, rng: np.random.Generator) -> Outcome:
    whole = PART + photograph("PNG") + b"\r\n--b--\r\n"
    broken = (
        damaged(whole, [whole[::-1]], rng),
        PART * 1000,
        whole.replace(b"photo", b"other"),
        b"--b\r\n" * 100_000,
        b"\r\n--b" * 100_000,
    )
    return attack.send(broken[int(rng.integers(len(broken)))], FORM)


def _options(attack: Attack, rng: np.random.Generator) -> Outcome:
    name = str(rng.choice(("beam_width", "n_best", "max_length", "seed", "top_p", "suppress_words", "\0", "data.root")))
    value = str(rng.choice(("-1", "1e999", "9" * 3000, "null", "../../etc/passwd", "\x1b[2J", "nan", "{{7*7}}")))
    return attack.send(photograph("PNG"), path=f"/caption?{quote(name)}={quote(value)}")


def _foreign(attack: Attack, rng: np.random.Generator) -> Outcome:
    wrong = ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"})
    outcome = attack.send(photograph("PNG"), wrong[int(rng.integers(len(wrong)))])
    return outcome if outcome.kind == "refused" else Outcome("wrong", "a foreign request was accepted")


def _large(attack: Attack, rng: np.random.Generator) -> Outcome:
    return attack.send(bytes(20_000_001 + int(rng.integers(5_000_000))))


ATTACKS: Mapping[str, Callable[[Attack, np.random.Generator], Outcome]] = {
    "a bomb": _bomb,
    "a damaged photograph": _damaged,
    "random bytes": _random,
    "a damaged form": _form,
    "invalid options": _options,
    "a foreign request": _foreign,
    "too many bytes": _large,
    "huge headers": lambda attack, rng: attack.send_raw(
        f"{HEAD}X: {'x' * int(rng.integers(20_000, 999_999))}".encode()
    ),
    "no request": lambda attack, rng: attack.send_raw(rng.bytes(int(rng.integers(1, 4000)))),
    "slow headers": lambda attack, rng: attack.hold(HEAD.encode()[: int(rng.integers(len(HEAD)))]),
    "a slow body": lambda attack, rng: attack.hold(f"{HEAD}Content-Length: 100000\r\n\r\n".encode() + rng.bytes(99)),
    "a client that vanishes": lambda attack, rng: attack.vanish(
        f"{HEAD}Content-Length: {int(rng.integers(2, 99_999))}\r\n\r\n".encode() + rng.bytes(int(rng.integers(9999)))
    ),
}


def write_bombs(folder: Path) -> dict[str, bytes]:
    """Make photographs with too many pixels."""
    return {kind: write_flat(folder / kind, TOO_LARGE, kind).read_bytes() for kind in ("JPEG", "PNG", "GIF", "BMP")}


def memory(process: subprocess.Popen[str]) -> float:
    """Return the resident memory of a process in MB; NaN without /proc."""
    with suppress(OSError):
        status = Path(f"/proc/{process.pid}/status").read_text()
        if resident := re.search(r"VmRSS:\s+(\d+) kB", status):
            return int(resident[1]) * 1024 / 1e6
    return float("nan")


def measure(session: Session) -> Iterator[Row | Figure]:
    """Yield the outcomes of hostile requests, and the memory that they leave."""
    folder = session.folder("uploads")
    with captioner("train", "--run", folder / "run", *settings((*SMALL, "train.max_steps=2"))) as training:
        _, errors = training.communicate()
    assert training.returncode == 0, errors
    server = captioner("serve", folder / "run", "--port", 0, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        attack = Attack(urlsplit(server.stdout.readline().strip()).port or 0, write_bombs(folder), session.seed)
        good = photograph("PNG")
        expected, tally, before = attack.answer(good), Tally(), float("nan")
        count = session.count(1000, least=len(ATTACKS))
        for number in range(count):
            tally.add(number, attack(number))
            if number == count // 5:
                before = memory(server)
        if attack.answer(good) != expected:
            tally.add(count, Outcome("wrong", "another caption than before"))
        if server.poll() is not None:
            tally.add(count, Outcome("crashed", f"exit code {server.returncode}"))
        yield row("hostile requests to captioner serve", "an error without paths; the server still answers", tally)
        yield {
            "what": "memory of captioner serve after all hostile requests / after a fifth of them",
            "got": round(memory(server) / before, 2),
            "most": 1.3,
            "unit": "times",
        }
        for client in attack.slow:
            client.close()
    finally:
        server.terminate()
        server.communicate()
