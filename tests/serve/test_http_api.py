"""POST /caption and /preview: fields of `captioner caption --json`, options, limits, other web sites, clear errors."""

import dataclasses
import io
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from serving import Served, served

from captioner.errors import printable
from captioner.files import checkpoint
from captioner.photos.request_body import MAX_BYTES
from captioner.photos.serve import FAILURE

EVIL = "evil.example"


@pytest.mark.parametrize("options", ["", "-o caption.n_best=2 -o decode.beam_width=4"])
def test_the_answer_is_that_of_the_command(
    options: str, photo_run: Path, photograph: Path, cli: Callable[..., Any]
) -> None:
    expected = json.loads(cli("caption", photograph, "--model", photo_run, "--json", *options.split()).out)
    with served(photo_run, *options.split()) as server:
        answer = server.caption(photograph.read_bytes())
    assert answer.status == 200
    assert answer.json == {**expected, "image": "photograph"}


def test_a_large_photograph_is_shrunk_as_by_the_command(
    photo_run: Path, photograph: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    saved = checkpoint.load(photo_run / "best.h5")
    small = dataclasses.replace(saved, meta=dataclasses.replace(saved.meta, photo_side=24))
    checkpoint.save(tmp_path / "small.h5", small)
    expected = json.loads(cli("caption", photograph, "--model", tmp_path / "small.h5", "--json").out)
    with served(tmp_path / "small.h5") as server:
        answer = server.caption(photograph.read_bytes()).json
    assert answer == {**expected, "image": "photograph"}
    assert answer["log_prob"] != json.loads(cli("caption", photograph, "--model", photo_run, "--json").out)["log_prob"]


def test_attention_is_that_of_the_command(
    attention_server: Served, attention_run: Path, photograph: Path, cli: Callable[..., Any]
) -> None:
    answer = attention_server.caption(photograph.read_bytes()).json
    expected = json.loads(cli("caption", photograph, "--model", attention_run, "--attention", "--json").out)
    assert answer["attention"] == expected["attention"]


@pytest.mark.parametrize("name", ["beam_width", "\x1b[31m"])
def test_an_unknown_parameter_is_400(name: str, server: Served, photograph: Path) -> None:
    problem = server.caption(photograph.read_bytes(), **{name: 5}).problem
    assert problem == (400, f"{printable(name)}: unknown; expected image; set options with -o")


@pytest.mark.parametrize(
    ("content", "status", "problem"),
    [
        (b"", 422, "photograph: expected a photograph (JPEG"),
        (b"GIF", 422, "photograph: expected a photograph (JPEG"),
        (bytes(MAX_BYTES + 1), 413, "expected a photograph of at most 20 MB, got more; make it smaller"),
        ([bytes(1_000_000)] * 40, 413, "expected a photograph of at most 20 MB, got more; make it smaller"),
    ],
    ids=["empty", "text", "bytes", "chunks"],
)
def test_a_photograph_that_cannot_be_used(content: Any, status: int, problem: str, server: Served) -> None:
    code, reason = server.request("POST", "/caption", content).problem
    assert (code, reason[: len(problem)]) == (status, problem)


def test_an_error_names_the_photograph_of_a_request_that_does(server: Served) -> None:
    status, reason = server.caption(b"II*", image="a.NEF").problem
    assert (status, reason[:39]) == (422, "a.NEF: raw files are not supported; con")


def test_a_preview_is_a_small_jpeg(server: Served) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    content = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (1000, 2000), "red")).save(content)
    answer = server.request("POST", "/preview", content.getvalue())
    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
    with Image.open(io.BytesIO(answer.body), formats=["JPEG"]) as preview:
        assert preview.size == (400, 800)
    assert server.request("POST", "/preview", b"GIF").problem[0] == 422


def test_a_client_that_leaves_is_no_failure(photo_run: Path) -> None:
    with served(photo_run) as server:
        with server.connect() as client:
            client.sendall(b"POST /caption HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf")
        assert server.request("GET", "/").status == 200
        assert server.stop()[1] == "Ctrl-C stops the server\n"


def test_other_paths_and_methods(server: Served) -> None:
    assert server.request("GET", "/../etc/passwd").problem == (404, "Not Found")
    answer = server.request("GET", "/caption")
    assert (answer.problem, answer.headers["allow"]) == ((405, "Method Not Allowed"), "POST")


def test_requests_at_the_same_time_get_the_captions_of_their_own_photographs(server: Served, photograph: Path) -> None:
    photos = [photo.read_bytes() for photo in photograph.parent.glob("*.png")]
    alone = [server.caption(photo).json["caption"] for photo in photos]
    assert len(set(alone)) > 1
    with ThreadPoolExecutor(8) as pool:
        assert [answer.json["caption"] for answer in pool.map(server.caption, photos * 5)] == alone * 5


# --- other web sites


@pytest.mark.parametrize("host", ["", f"{EVIL}:8000", f"127.0.0.1.{EVIL}", f"localhost@{EVIL}", "192.168.0.7:8000"])
def test_another_host_is_refused(host: str, server: Served) -> None:
    for method, path in (("GET", "/"), ("POST", "/caption")):
        assert server.request(method, path, b"x", {"Host": host}).status == 400


@pytest.mark.parametrize(
    "origin", [f"http://{EVIL}", "http://127.0.0.1:1", "https://127.0.0.1", "null", "", "http://["]
)
def test_another_origin_is_refused(origin: str, server: Served, photograph: Path) -> None:
    for path in ("/caption", "/preview"):
        answer = server.request("POST", path, photograph.read_bytes(), {"Origin": origin})
        assert answer.problem == (403, "requests of other web sites are not accepted")
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("order", [1, -1])
def test_a_second_origin_is_refused(order: int, server: Served) -> None:
    host = f"localhost:{server.port}"
    origins = "".join(f"Origin: http://{name}\r\n" for name in (host, EVIL)[::order])
    with server.connect() as client:
        client.sendall(f"POST /caption HTTP/1.1\r\nHost: {host}\r\n{origins}Content-Length: 0\r\n\r\n".encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_own_origin_is_accepted(name: str, server: Served, photograph: Path) -> None:
    host = f"{name}:{server.port}"
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert server.request("POST", "/caption", photograph.read_bytes(), headers).status == 200


def test_other_sites_cannot_frame_the_page(server: Served) -> None:
    assert server.request("GET", "/").headers["content-security-policy"] == "frame-ancestors 'none'"


# --- limits and failures


PATCHED = """
import os, sys
import uvicorn
from captioner.photos import serve

def watch(event, arguments):
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        os.write(2, f"written: {arguments[0]}\\n".encode())

def run_watched(self, sockets, run=uvicorn.Server.run):
    sys.addaudithook(watch)
    run(self, sockets)

def caption_with_bug(self, content, *others, caption=serve.Site._caption):
    if content == b"bug":
        raise ZeroDivisionError("a bug")
    return caption(self, content, *others)

uvicorn.Server.run, serve.Site._caption = run_watched, caption_with_bug
from captioner.cli import main
main()
"""
"""The command, which has bugs, and reports the files that are opened for writing while it serves."""


def test_photographs_are_not_written_to_disk(photo_run: Path) -> None:
    large = io.BytesIO()
    Image.frombytes("RGB", (1400, 1400), os.urandom(3 * 1400 * 1400)).save(large, "PNG", compress_level=0)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}  # modules are imported when they are first needed
    with served(photo_run, code=PATCHED, env=environment) as server:
        for path in ("/caption", "/preview"):
            assert server.request("POST", path, large.getvalue()).status == 200
        assert server.stop()[1] == "Ctrl-C stops the server\n"


def test_the_server_outlives_a_bug_whose_traceback_is_for_the_operator_alone(photo_run: Path, photograph: Path) -> None:
    with served(photo_run, code=PATCHED) as server:
        assert server.caption(b"bug").problem == (500, FAILURE)
        assert server.caption(photograph.read_bytes()).status == 200
        _, printed = server.stop()
    assert "captioner: ZeroDivisionError: a bug\nTraceback (most recent call last):\n" in printed
    assert ", in caption_with_bug\n" in printed


def test_a_failure_of_the_model_is_for_the_operator_alone(photo_run: Path, photograph: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(photo_run, tmp_path / "run"))
    saved = checkpoint.load(run / "best.h5")
    for name in ("b_vocab", "W_vocab"):
        saved.params[name][...] = np.float32(3e38)
    checkpoint.save(run / "best.h5", saved)
    with served(run) as server:
        assert server.caption(photograph.read_bytes()).problem == (500, FAILURE)
        _, printed = server.stop()
    assert f"captioner: {run / 'best.h5'}: expected finite log-probabilities" in printed
    assert "Traceback" not in printed
