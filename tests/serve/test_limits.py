"""Photographs that are too large, late, too many, or too much for their decoder; none reaches the disk."""

import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from serving import HEAD, Answer, Served, encoded, picture, served

IMPATIENT = """
from functools import partial
from captioner.serve import app
app.Limits = partial(app.Limits, seconds=0.5)
app.DecodingProcess = partial(app.DecodingProcess, seconds=2)
from captioner.cli import main
main()
"""
"""The command with short times, which have no options."""
WATCHED = """
import os, sys
from captioner.serve import server
run = server.run

def watch(event, arguments):
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        os.write(2, f"written: {arguments[0]}\\n".encode())

def run_watched(*arguments):
    sys.addaudithook(watch)
    run(*arguments)

server.run = run_watched
from captioner.cli import main
main()
"""
"""The command, which reports the files that are opened for writing while it serves."""


def endless_photograph() -> bytes:
    """A JPEG of 2 MB that takes minutes to decode: its last scan is repeated."""
    content = encoded(Image.new("RGB", (4000, 4000), (200, 30, 30)), "JPEG", progressive=True, quality=50)
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * (2_000_000 // (len(content) - last)) + content[-2:]


def test_a_photograph_that_takes_too_long_to_decode_is_422_and_the_next_one_is_captioned(
    photo_run: Path, photograph: Path
) -> None:
    with served(photo_run, code=IMPATIENT) as server:
        expected = server.caption(photograph.read_bytes()).json
        problem = "a.jpg: cannot be decoded within 2 s and 2 GiB of memory; make it smaller"
        assert server.caption(endless_photograph(), "a.jpg").problem == (422, problem)
        assert server.caption(photograph.read_bytes()).json == expected


def test_a_photograph_that_does_not_arrive_in_time_is_408(photo_run: Path) -> None:
    with served(photo_run, code=IMPATIENT) as server, server.connect() as client:
        client.sendall(HEAD + b"Content-Length: 9\r\n\r\nhalf")
        answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"the photograph did not arrive within 0.5 s" in answer + client.recv(65536)
        assert client.recv(65536) == b"", "the connection is closed"


@pytest.mark.parametrize("body", [bytes(30_000_000), [bytes(1_000_000)] * 30], ids=["with length", "in chunks"])
def test_a_client_that_sends_too_much_before_it_reads_gets_413(body: Any, server: Served) -> None:
    answer = server.request("POST", "/caption", body)
    assert answer.problem == (413, "expected a photograph of at most 9 MB, got more; make it smaller")


def test_more_photographs_than_the_queue_are_503_until_one_is_done(photo_run: Path, photograph: Path) -> None:
    content = photograph.read_bytes()

    def ask(server: Served, status: int) -> Answer:
        """Ask until the status is as expected: the server notices a moment later what its clients do."""
        deadline = time.monotonic() + 60
        while (answer := server.caption(content)).status != status:
            assert time.monotonic() < deadline
        return answer

    with served(photo_run, "--queue", 2) as server:
        with ExitStack() as stack:
            for _ in range(2):
                client = stack.enter_context(server.connect())
                client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(content))
            answer = ask(server, 503)
            assert answer.problem[1] == "2 photographs are received or captioned already; try again later"
            assert answer.headers["retry-after"] == "5"
            client.sendall(content)
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
            assert ask(server, 200).json["caption"]
        assert ask(server, 200).json["caption"], "a client that is gone keeps no place"


def test_photographs_are_not_written_to_disk(photo_run: Path, tmp_path: Path) -> None:
    content = encoded(Image.frombytes("RGB", (1400, 1400), os.urandom(3 * 1400 * 1400)), compress_level=0)
    with served(photo_run, code=WATCHED, cwd=tmp_path) as server:
        assert server.caption(content).status == 200
        assert server.caption(encoded(picture())).status == 200
        assert "written" not in server.stop()[1]
    assert list(tmp_path.iterdir()) == []
