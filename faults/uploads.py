"""Hostile requests to `captioner serve`: bombs, damaged photographs and forms, huge headers, slow clients.

Every request must get an answer, and clients must not wait for slow ones, for more of them than the server accepts, or
for its end.
"""

from __future__ import annotations

import http.client
import io
import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
from PIL import Image

from faults.materials import damaged
from faults.photographs import photograph, write_flat
from faults.session import ROOT, SMALL, Figure, Row, Session, captioner, row, settings
from faults.watch import Outcome, Tally

PATIENCE = 20.0
SECONDS = 12.0
"""Seconds in which other clients get an answer, and in which slow ones are disconnected."""
SHORT = {"receive_seconds": 6, "idle_seconds": 4}
"""Limits of the server for slow clients; by default, they have more time."""
CLIENTS = (20, 60, 200)
"""Clients with photographs of 9 MB, of which 44 fit into the server's memory."""
LIMITED = """
from functools import partial
from captioner.cli import main, serve
serve.Limits = partial(serve.Limits, **{limits})
main()
"""
"""The command, with limits that have no options."""
LARGE = "x" * 10_000_000
"""A chunk before many of one byte, so that their mean is large."""
TOO_LARGE = 8000
"""Side of photographs with more pixels than the server accepts."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HEAD = "POST /caption HTTP/1.1\r\nHost: localhost\r\n"
LEAK = re.compile(rf"Traceback|site-packages|0x[0-9a-f]{{8}}|{re.escape(str(ROOT))}")
FORM = {"Content-Type": "multipart/form-data; boundary=b"}
PART = b'--b\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n'
REFUSALS, BUSY = (*range(400, 500), 503, 504), (503,)
"""The statuses of refusals: of hostile requests, and of good ones."""
KINDS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")


@dataclass
class Attack:
    """Sends hostile requests to a server."""

    port: int
    bombs: Mapping[str, bytes]
    seed: int

    def __call__(self, number: int) -> Outcome:
        rng = np.random.default_rng((self.seed, number, 7))
        name, attack = list(ATTACKS.items())[number % len(ATTACKS)]
        try:
            return attack(self, rng)._replace(note=name)
        except TimeoutError:
            return Outcome("hung", name)
        except (http.client.HTTPException, OSError) as error:
            return Outcome("wrong", f"{name}: no answer: {error!r}")

    def answer(
        self,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        path: str = "/caption",
        timeout: float = PATIENCE,
    ) -> tuple[int, bytes]:
        """Send a request; return the status and the body of the answer."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)) as connection:
            connection.request("POST", path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read()

    def send(self, *request: Any, **options: Any) -> Outcome:
        """Send a request, and check that the answer is a caption, or an error without a path or a traceback."""
        return judge(*self.answer(*request, **options))

    def send_good(self, kind: str) -> Outcome:
        """Send a good photograph, which is captioned, or refused by a server without capacity."""
        return judge(*self.answer(photograph(kind)), BUSY)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def send_raw(self, content: bytes, refusals: Container[int] = REFUSALS) -> Outcome:
        """Send bytes that may be no request, and read the answer."""
        with self.connect() as client:
            client.sendall(content)
            client.shutdown(socket.SHUT_WR)
            answer = b""
            while part := client.recv(65536):
                answer += part
        head, _, body = answer.removeprefix(CONTINUE).partition(b"\r\n\r\n")
        return judge(int(head.split()[1]), body, refusals) if answer else Outcome("wrong", "no answer")

    def vanish(self, content: bytes) -> Outcome:
        """Send a part of a request, and close the connection."""
        with self.connect() as client:
            client.sendall(content)
        return Outcome("disconnected")


def judge(status: int, body: bytes, refusals: Container[int] = REFUSALS) -> Outcome:
    """Classify an answer, which is a caption or has the status of a refusal."""
    if LEAK.search(body.decode("utf-8", "replace")):
        return Outcome("messy", body[:200].decode("utf-8", "replace"))
    record = json.loads(body)
    if status == 200:
        return Outcome("captioned" if "caption" in record else "wrong")
    return Outcome("refused" if status in refusals else "wrong", f"{status} {record}")


def check_captioned(tally: Tally) -> Tally:
    """Add a failure if no photograph was captioned, as by a server that refuses all."""
    if not tally.counts["captioned"]:
        tally.add(tally.counts.total(), Outcome("wrong", "no photograph was captioned"))
    return tally


def whole_request(body: bytes) -> bytes:
    return f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body


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
    "a half-closed connection": lambda attack, rng: attack.send_raw(
        whole_request(photograph(str(rng.choice(KINDS)))), BUSY
    ),
    "half a request": lambda attack, rng: attack.send_raw(
        whole_request(photograph("PNG"))[: int(rng.integers(1, 400))]
    ),
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


@contextmanager
def served(run: Path, *options: object, **limits: object) -> Iterator[tuple[subprocess.Popen[str], Attack]]:
    """Start `captioner serve` with these limits, and stop it at the end."""
    code = LIMITED.format(limits=limits) if limits else ""
    server = captioner("serve", run, "--port", 0, *options, code=code, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        yield server, Attack(urlsplit(server.stdout.readline().strip()).port or 0, {}, 0)
    finally:
        server.terminate()
        server.communicate()


def outcome_of(send: Callable[[], Outcome]) -> Outcome:
    """Return the outcome of a request that must get an answer in time."""
    started = time.monotonic()
    try:
        outcome = send()
    except (http.client.HTTPException, OSError) as error:
        return Outcome("hung" if isinstance(error, TimeoutError) else "wrong", f"no answer: {error!r}")
    seconds = time.monotonic() - started
    return Outcome("hung", f"an answer after {seconds:.1f} s") if seconds > SECONDS else outcome


def in_parallel(clients: int, count: int, send: Callable[[], Outcome]) -> Tally:
    """Send requests, shared by so many clients."""
    tally = Tally()
    with ThreadPoolExecutor(clients) as pool:
        for number, outcome in enumerate(pool.map(outcome_of, repeat(send, count))):
            tally.add(number, outcome)
    return tally


def hold(attack: Attack, clients: int, others: int) -> tuple[Tally, Tally]:
    """Open slow connections; return the outcomes of other requests meanwhile, and those of the slow clients."""
    started, slow, ended = time.monotonic(), [], Tally()
    for number in range(clients):
        slow.append(client := attack.connect())
        content = HEAD if number % 2 else f"{HEAD}Content-Length: 100000\r\n\r\nslow"
        client.sendall(content.encode())
    tally = in_parallel(4, others, lambda: attack.send_good("PNG"))
    for number, client in enumerate(slow):
        with client:
            client.settimeout(max(0.1, started + 2 * SECONDS - time.monotonic()))
            try:
                answer = client.recv(65536)
                ended.add(number, Outcome("refused" if answer.startswith(b"HTTP/1.1 ") else "disconnected"))
            except TimeoutError:
                ended.add(number, Outcome("hung", "the connection of a slow client is still open"))
            except ConnectionError:
                ended.add(number, Outcome("disconnected"))
    return tally, ended


def stop(run: Path, clients: int, tally: Tally) -> None:
    """Stop a server to which clients send requests, each until the server accepts no more connections."""
    body, lock = photograph("JPEG"), threading.Lock()

    def client(attack: Attack) -> None:
        while True:
            try:
                connection = attack.connect()
            except ConnectionRefusedError:
                return
            with closing(http.client.HTTPConnection("127.0.0.1", attack.port, timeout=PATIENCE)) as http_client:
                http_client.sock = connection

                def send(http_client: http.client.HTTPConnection = http_client) -> Outcome:
                    http_client.request("POST", "/caption", body)
                    answer = http_client.getresponse()
                    return judge(answer.status, answer.read(), BUSY)

                outcome = outcome_of(send)
            with lock:
                tally.add(tally.counts.total(), outcome)

    with served(run) as (server, attack), ThreadPoolExecutor(clients) as pool:
        waiting = [pool.submit(client, attack) for _ in range(clients)]
        time.sleep(1 + 0.1 * (tally.counts.total() % 7))
        server.terminate()
        for future in waiting:
            future.result()


def longest_check(attack: Attack, clients: int, seconds: float) -> float:
    """Return the longest time of a health check while clients send bodies in chunks of one byte."""
    ends, longest = time.monotonic() + seconds, 0.0

    def send_chunks() -> None:
        while time.monotonic() < ends:
            with suppress(OSError), attack.connect() as client:
                client.sendall(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n{len(LARGE):x}\r\n{LARGE}\r\n".encode())
                while time.monotonic() < ends:
                    client.sendall(b"1\r\nx\r\n" * 10_000)

    with ThreadPoolExecutor(clients) as pool:
        for _ in range(clients):
            pool.submit(send_chunks)
        while (began := time.monotonic()) < ends:
            with closing(http.client.HTTPConnection("127.0.0.1", attack.port, timeout=PATIENCE)) as connection:
                connection.request("GET", "/healthz")
                connection.getresponse().read()
            longest = max(longest, time.monotonic() - began)
    return longest


def captions_per_second(run: Path, clients: int, share: float) -> float:
    """Return the captions per second of clients that send photographs of 9 MB (times `share`) without a pause."""
    picture, buffer = Image.effect_noise((round(3000 * share**0.5),) * 2, 100), io.BytesIO()
    picture.save(buffer, "PNG", compress_level=0)
    sizes = ("--max-bytes", round(20e6 * share))
    with served(run, *sizes, held_bytes=round(4e8 * share)) as (_, attack), ThreadPoolExecutor(clients) as pool:
        began = time.monotonic()

        def send(_: int) -> int:
            captioned = 0
            while time.monotonic() < began + 20 * share:
                with suppress(http.client.HTTPException, OSError):
                    captioned += attack.answer(buffer.getvalue(), timeout=5 * PATIENCE)[0] == 200
            return captioned

        return sum(pool.map(send, range(clients))) / (time.monotonic() - began)


def measure(session: Session) -> Iterator[Row | Figure]:
    """Yield the outcomes of hostile requests, and the memory that they leave; then those of many and slow clients."""
    folder = session.folder("uploads")
    run = folder / "run"
    with captioner("train", "--run", run, *settings((*SMALL, "train.max_steps=2"))) as training:
        _, errors = training.communicate()
    assert training.returncode == 0, errors
    with served(run) as (server, attack):
        attack.bombs, attack.seed = write_bombs(folder), session.seed
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
    yield from measure_clients(session, run)


def measure_clients(session: Session, run: Path) -> Iterator[Row | Figure]:
    """Yield the outcomes of many clients, slow ones, and those of a server that is stopped."""
    clients = session.count(300, least=12)
    with served(run, connections=clients - 4, **SHORT) as (_, attack):
        others, slow = hold(attack, clients, session.count(100, least=8))
        yield row("requests while 300 slow clients are connected", f"a caption or 503 within {SECONDS:g} s", others)
        yield row("slow clients of captioner serve", "disconnected in time", slow)
        tally = in_parallel(2 * clients, session.count(1200, least=48), lambda: attack.send_good("BMP"))
        yield row("uploads of 600 clients at a time", "a caption or 503", check_captioned(tally))
        yield {
            "what": "longest health check while eight clients send chunks of one byte",
            "got": round(longest_check(attack, 8, max(1, 10 * session.share)), 2),
            "most": 2.0,
            "unit": "s",
        }
    stopped = Tally()
    for _ in range(session.count(5)):
        stop(run, session.count(50, least=8), stopped)
    yield row(
        "requests while captioner serve is stopped",
        "a caption or 503; then refused connections",
        check_captioned(stopped),
    )
    share = max(session.share, 0.05)
    half, *rates = (captions_per_second(run, clients, share) for clients in CLIENTS)
    for clients, rate in zip(CLIENTS[1:], rates, strict=True):
        yield {
            "what": f"captions per second with 20 / {clients} clients that send 9 MB (44 fit into memory)",
            "got": round((half or 1) / (rate or 0.01), 2),
            "most": 1.5,
            "unit": "times",
        }
