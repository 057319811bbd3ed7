"""POST /caption and GET /healthz: the fields of `captioner sample --json`, options, and clear errors."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving import WAYS, Served, encoded, form, picture, served

from captioner.images.photo import FORMATS, PIXELS
from captioner.serve.app import FAILURE
from captioner.serve.security import MAX_PIXELS

GIF_BOMB = encoded(picture(), "GIF")[:6] + b"\x60\xea\x60\xea" + encoded(picture(), "GIF")[10:]
"""A small file that declares 60,000 x 60,000 pixels."""
both_ways = pytest.mark.parametrize("way", WAYS)


@both_ways
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
    options: dict[str, object],
    words: str,
    way: str,
    server: Served,
    photo_run: Path,
    photograph: Path,
    cli: Callable[..., Any],
) -> None:
    expected = json.loads(cli("sample", photo_run, photograph, "--json", *words.split()).out)
    answer = server.caption(photograph.read_bytes(), photograph.name, way, **options)
    assert (answer.status, answer.json) == (200, {**expected, "image": photograph.name})
    assert list(answer.json) == list(expected)


def test_attention_is_that_of_the_files(
    attention_server: Served, attention_run: Path, photograph: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    answer = attention_server.caption(photograph.read_bytes(), attention="true").json
    file = tmp_path / "maps.jsonl"
    cli("sample", attention_run, photograph, "--attention", file)
    expected = json.loads(file.read_text())
    assert answer["attention"] == {name: expected[name] for name in ("words", "grid", "weights", "sentinel")}
    assert "attention" not in attention_server.caption(photograph.read_bytes()).json


@both_ways
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
def test_the_name_of_a_photograph_has_no_folders(
    path: str, name: str, way: str, server: Served, photograph: Path
) -> None:
    assert server.caption(photograph.read_bytes(), path, way).json["image"] == name


@pytest.mark.parametrize("kind", [*FORMATS, "HEIF"])
def test_formats(kind: str, server: Served) -> None:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    assert server.caption(encoded(picture(), kind)).json["caption"]


@both_ways
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"beam_widht": 5}, "beam_widht: unknown option (did you mean beam_width?)"),
        ({"beam_width": 0}, "beam_width: expected an integer >= 1 and <= 100, got 0"),
        ({"beam_width": 500}, "beam_width: expected an integer >= 1 and <= 100, got 500"),
        ({"max_length": 999}, "max_length: expected an integer >= 1 and <= 100, got 999"),
        ({"n_best": 101}, "n_best: expected an integer >= 1 and <= 100, got 101"),
        ({"n_best": "000000100999"}, "n_best: expected an integer >= 1 and <= 100, got 000000100999"),
        ({"n_best": "9" * 4000}, "n_best: expected an integer >= 1 and <= 100, got 999"),
        ({"attention": "true"}, "attention: this model has no attention; leave this out"),
        ({"attention": "maybe"}, "attention: expected true or false, got maybe"),
        ({"temperature": "nan"}, "temperature: expected a number >= 0.01 and <= 100, got nan (must be finite)"),
        ({"consensus": 4}, "consensus: unknown option"),
        ({"suppress_words": "abracadabra"}, "suppress_words: expected words of the vocabulary, got abracadabra"),
        ({"top_p": 0.5}, "top_p: has no effect without method sampling (set that, or leave this at 1.0)"),
        ({"min_length": 9, "max_length": 3}, "min_length: expected at most max_length"),
        ({"data.root": "/etc"}, "data.root: unknown option"),
        ({"beam_width": "\x1b[31m"}, "beam_width: expected an integer >= 1 and <= 100, got \\x1b[31m"),
    ],
)
def test_an_invalid_option_is_422(
    options: dict[str, Any], problem: str, way: str, server: Served, photograph: Path
) -> None:
    status, reason = server.caption(photograph.read_bytes(), way=way, **options).problem
    assert (status, reason[: len(problem)]) == (422, problem)


def test_an_option_that_is_given_twice_is_422(server: Served) -> None:
    for answer in (
        server.request("POST", "/caption?n_best=1&n_best=2", b"x"),
        server.send_form("/caption?n_best=1", b"x", n_best=1),
    ):
        assert answer.problem == (422, "n_best: given twice; keep one")


@both_ways
@pytest.mark.parametrize(
    ("content", "status", "problem"),
    [
        (b"", 422, "expected a photograph, got nothing"),
        (b"GIF", 422, f"a.jpg: expected a photograph ({', '.join(FORMATS)}), got a text file"),
        (encoded(picture(200))[:200], 422, "a.jpg: damaged or truncated"),
        (b"\0\0\0\x18ftypheic" + bytes(20), 422, "a.jpg: cannot be read as HEIC; try JPEG"),
        (encoded(picture(3000)), 413, "a.jpg: expected at most 5,000,000 pixels; make the photograph smaller"),
        (GIF_BOMB, 413, "a.jpg: expected at most 5,000,000 pixels; make the photograph smaller"),
        (bytes(9_000_001), 413, "expected a photograph of at most 9 MB, got more; make it smaller"),
        (bytes(20_000_000), 413, "expected a photograph of at most 9 MB, got more; make it smaller"),
    ],
    ids=["empty", "text", "truncated", "heic", "png", "gif", "bytes", "many bytes"],
)
def test_a_photograph_that_cannot_be_used(content: bytes, status: int, problem: str, way: str, server: Served) -> None:
    code, reason = server.caption(content, "a.jpg", way).problem
    assert (code, reason[: len(problem)]) == (status, problem)
    assert not re.search(r"0x[0-9a-f]{6}|Traceback|site-packages|/python|File \"", reason)


def test_a_body_without_a_length_is_bounded_too(server: Served) -> None:
    assert server.request("POST", "/caption", iter([b"x" * 1_000_000] * 12)).status == 413


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (form(None, n_best=1), "expected one photograph in the field photo, got none"),
        (
            form(b"x").removesuffix(b"--\r\n") + form(b"y").removeprefix(b"--a-boundary"),
            "expected one photograph in the field photo, got 2",
        ),
        (form(b"x")[:-20], "expected a form (multipart/form-data), got a damaged one: a part is incomplete"),
        (form(b"x", seed="1" * 5000), "expected at most 4,096 bytes in an option, got more"),
    ],
)
def test_a_damaged_form_is_422(body: bytes, problem: str, server: Served) -> None:
    answer = server.request("POST", "/caption", body, {"Content-Type": "multipart/form-data; boundary=a-boundary"})
    assert answer.problem == (422, problem)


def test_other_paths_and_methods(server: Served) -> None:
    for path in ("/../etc/passwd", "/caption/", "/healthz/"):  # without a redirection
        assert server.request("GET", path).problem == (404, "not found; expected /, /caption or /healthz")
    answer = server.request("GET", "/caption")
    assert (answer.problem, answer.headers["allow"]) == ((405, "GET: not for /caption"), "POST")
    assert server.request("HEAD", "/").status == 200


def test_the_most_pixels_are_those_of_all_photographs() -> None:
    assert MAX_PIXELS == PIXELS


def test_health(server: Served) -> None:
    health = server.request("GET", "/healthz").json
    assert health == {"status": "ok", "model": "run", "running": 0, "waiting": 0, "overdue": 0}


BUG = """
from captioner.serve.service import Service
def fail(*_):
    raise ZeroDivisionError("a bug")
Service._search = fail
from captioner.cli import main
main()
"""


def test_the_traceback_of_a_bug_is_for_the_operator_alone(photo_run: Path, photograph: Path) -> None:
    with served(photo_run, code=BUG) as running:
        assert running.caption(photograph.read_bytes()).problem == (500, FAILURE)
        assert running.send_form("/", photograph.read_bytes()).status == 500
        _, printed = running.stop()
    assert "captioner: ZeroDivisionError: a bug\nTraceback (most recent call last):\n" in printed
    assert ", in fail\n" in printed
