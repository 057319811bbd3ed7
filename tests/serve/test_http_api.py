"""POST /caption: the fields of `captioner sample --json`, options, and clear errors."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from serving import Served, encoded, picture, served

from captioner.data.scenes import example
from captioner.images.photo import FORMATS, PIXELS
from captioner.serve.app import FAILURE

GIF_BOMB = encoded(picture(), "GIF")[:6] + b"\x60\xea\x60\xea" + encoded(picture(), "GIF")[10:]
"""A small file that declares 60,000 x 60,000 pixels."""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ""),
        ({"n_best": 3}, "--n-best 3"),
        (
            {"n_best": 2, "beam_width": 4, "length_penalty": 0.7, "max_length": 5},
            "--n-best 2 -o decode.beam_width=4 -o decode.length_penalty=0.7 -o decode.max_length=5",
        ),
        ({"method": "sampling", "seed": 7, "beam_width": " "}, "-o decode.method=sampling -o decode.seed=7"),
    ],
)
def test_the_answer_is_that_of_sample(
    options: dict[str, object], words: str, server: Served, photo_run: Path, photograph: Path, cli: Callable[..., Any]
) -> None:
    expected = json.loads(cli("sample", photo_run, photograph, "--json", *words.split()).out)
    answer = server.caption(photograph.read_bytes(), photograph.name, **options)
    assert answer.status == 200
    assert answer.json == {**expected, "image": photograph.name}


def test_attention_is_that_of_the_files(
    attention_server: Served, attention_run: Path, photograph: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    answer = attention_server.caption(photograph.read_bytes(), attention="true").json
    file = tmp_path / "maps.jsonl"
    cli("sample", attention_run, photograph, "--attention", "--write", file)
    expected = json.loads(file.read_text())
    assert answer["attention"] == expected["attention"]
    assert "attention" not in attention_server.caption(photograph.read_bytes()).json


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("../../etc/x.png", "x.png"),
        ("C:\\photos\\y.png", "y.png"),
        ("", "photograph"),
        ("z\x1b[2J.png", "z\\x1b[2J.png"),
        ("a/b/猫.png", "猫.png"),
    ],
)
def test_the_name_of_a_photograph_has_no_folders(path: str, name: str, server: Served, photograph: Path) -> None:
    assert server.caption(photograph.read_bytes(), path).json["image"] == name


@pytest.mark.parametrize("kind", [*FORMATS, "HEIF"])
def test_formats(kind: str, server: Served) -> None:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    assert server.caption(encoded(picture(), kind)).json["caption"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"beam_widht": 5}, "beam_widht: not an option of this model (did you mean beam_width?)"),
        ({"decode.beam_width": 5}, "decode.beam_width: not an option of this model (did you mean beam_width?)"),
        ({"suppress_unk": "no"}, "suppress_unk: expected true or false, got no"),
        ({"beam_width": 0}, "beam_width: expected an integer >= 1 and <= 100, got 0"),
        ({"max_length": 999}, "max_length: expected an integer >= 1 and <= 100, got 999"),
        ({"n_best": 101}, "n_best: expected an integer >= 1 and <= 100, got 101"),
        ({"n_best": "9" * 4000}, "n_best: expected an integer >= 1 and <= 100, got 999"),
        ({"attention": "true"}, "attention: not an option of this model"),
        ({"temperature": "nan"}, "temperature: expected a number >= 0.01 and <= 100, got nan"),
        ({"suppress_words": "abracadabra"}, "suppress_words: expected words of the vocabulary, got abracadabra"),
        ({"top_p": 0.5}, "top_p: has no effect without method sampling (set that, or leave this at 1.0)"),
        ({"min_length": 9, "max_length": 3}, "min_length: expected at most max_length"),
        ({"data.root": "/etc"}, "data.root: not an option of this model"),
        ({"beam_width": "\x1b[31m"}, "beam_width: expected an integer >= 1 and <= 100, got \\x1b[31m"),
    ],
)
def test_an_invalid_option_is_400(options: dict[str, Any], problem: str, server: Served, photograph: Path) -> None:
    status, reason = server.caption(photograph.read_bytes(), **options).problem
    assert (status, reason[: len(problem)]) == (400, problem)


@pytest.mark.parametrize(
    ("content", "status", "problem"),
    [
        (b"", 422, "expected a photograph as the body of the request, got nothing"),
        (b"GIF", 422, f"a.jpg: expected a photograph ({', '.join(FORMATS)}"),
        (encoded(picture(200))[:200], 422, "a.jpg: damaged or truncated"),
        (GIF_BOMB, 422, f"a.jpg: expected at most {PIXELS:,} pixels; make the photograph smaller"),
        (bytes(9_000_001), 413, "expected a photograph of at most 9 MB, got more; make it smaller"),
    ],
    ids=["empty", "text", "truncated", "pixels", "bytes"],
)
def test_a_photograph_that_cannot_be_used(content: bytes, status: int, problem: str, server: Served) -> None:
    code, reason = server.caption(content, "a.jpg").problem
    assert (code, reason[: len(problem)]) == (status, problem)
    assert not re.search(r"0x[0-9a-f]{6}|Traceback|site-packages|File \"", reason)


def test_other_paths_and_methods(server: Served) -> None:
    for path in ("/../etc/passwd", "/caption/"):  # without a redirection
        assert server.request("GET", path).problem == (404, "not found; expected / or /caption")
    answer = server.request("GET", "/caption")
    assert (answer.problem, answer.headers["allow"]) == ((405, "GET: not for /caption"), "POST")
    assert server.request("HEAD", "/").status == 200


def test_what_is_no_request_is_400(server: Served) -> None:
    with server.connect() as client:
        client.sendall(b"nonsense\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_several_threads_answer_with_the_captions_of_their_own_photographs(server: Served) -> None:
    photos = [encoded(Image.fromarray(example(0, "train", number).picture)) for number in range(8)]
    alone = [server.caption(photo).json["caption"] for photo in photos]
    assert len(set(alone)) > 1
    with ThreadPoolExecutor(8) as pool:
        assert [answer.json["caption"] for answer in pool.map(server.caption, photos * 10)] == alone * 10


BUG = """
from captioner.serve.app import Site
def fail(*_):
    raise ZeroDivisionError("a bug")
Site._caption = fail
from captioner.cli import main
main()
"""


def test_the_traceback_of_a_bug_is_for_the_operator_alone(photo_run: Path, photograph: Path) -> None:
    with served(photo_run, code=BUG) as running:
        assert running.caption(photograph.read_bytes()).problem == (500, FAILURE)
        _, printed = running.stop()
    assert "captioner: ZeroDivisionError: a bug\nTraceback (most recent call last):\n" in printed
    assert ", in fail\n" in printed
