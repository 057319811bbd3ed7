"""The page without a browser: the form, its answer, and what it escapes."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from serving import Served, served

from captioner.config.options import Decode


class Parsed(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, Any]]] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, Any]]:
        return [attributes for name, attributes in self.elements if name == tag]


ABSENT = ("consensus", "guidance", "unfamiliar_below")
"""Options without effect on a model without a re-ranker and without the familiarity of images."""


def test_the_form_has_the_options_of_sample(server: Served) -> None:
    page = Parsed(server.request("GET", "/").body)
    names = [field["name"] for field in (*page.all("input"), *page.all("select"))]
    decoding = [field.name for field in dataclasses.fields(Decode) if field.name not in ABSENT]
    assert sorted(names) == sorted((*decoding, "n_best", "photo"))
    labelled = {label.get("for") for label in page.all("label")}
    assert {field["id"] for field in (*page.all("input"), *page.all("select"))} <= labelled


def test_the_answer_to_the_form_is_a_page_with_the_caption(server: Served, photograph: Path) -> None:
    answer = server.send_form("/", photograph.read_bytes(), "<b>.png", n_best="3", beam_width="4")
    expected = server.caption(photograph.read_bytes(), n_best=3, beam_width=4).json
    assert answer.status == 200
    text = answer.body.decode()
    assert "&lt;b&gt;.png" in text
    assert "<b>" not in text
    assert all(f"<td>{candidate['caption']}</td>" in text for candidate in expected["candidates"])
    page = Parsed(answer.body)
    (image,) = page.all("img")[:1]
    assert image["alt"] == expected["caption"]
    assert image["src"].startswith("data:image/png;base64,")
    (width,) = [field for field in page.all("input") if field["name"] == "beam_width"]
    assert width["value"] == "4", "the options stay in the form"


def test_a_guess_and_keywords_are_shown(familiar_run: Path, photograph: Path) -> None:
    with served(familiar_run) as server:
        page = server.send_form("/", photograph.read_bytes(), "new.png").body.decode()
        assert "<strong>a guess: unlike the training photographs</strong>" in page
        assert "familiarity 0 of 100" in page
        keywords = server.caption(photograph.read_bytes(), keywords=5).json["keywords"]
        assert re.findall(r'([^<>]+) <span class="faint">\d+%</span>', page.replace(", ", "")) == [
            keyword["name"] for keyword in keywords
        ]
        page = server.send_form("/", photograph.read_bytes(), unfamiliar_below="0", keywords="0").body.decode()
        assert "<h3>Keywords" not in page
        assert "a guess" not in page
        plain = server.caption(photograph.read_bytes()).json
        assert (plain["familiarity"], "keywords" in plain) == (0, False)


def test_a_problem_is_a_page_too(server: Served) -> None:
    answer = server.send_form("/", b"<script>", n_best="<i>")
    assert answer.status == 422
    assert answer.headers["content-type"].startswith("text/html")
    text = answer.body.decode()
    assert "captions per photograph: expected an integer &gt;= 1 and &lt;= 100, got &lt;i&gt;" in text
    assert "<i>" not in text
    for option, value, problem in (
        ("no_repeat_ngram", "0", "length of phrases that may not repeat: expected an integer &gt;= 1 or none, got 0"),
        ("min_length", "31", "minimum number of words: expected at most maximum number of words"),
    ):
        assert f">{problem}</p>" in server.send_form("/", b"x", **{option: value}).body.decode()


def test_the_model_s_value_can_be_none(photo_run: Path, photograph: Path) -> None:
    with served(photo_run, "-o", "decode.suppress_unk=false", "-o", "decode.no_repeat_ngram=1") as server:
        text = server.send_form("/", photograph.read_bytes(), no_repeat_ngram="none").body.decode()
        expected = server.caption(photograph.read_bytes(), no_repeat_ngram="null").json["caption"]
        assert f"<h2>{expected}</h2>" in text
        assert "<details" not in text.partition("<article")[2].partition("</article>")[0]
        assert expected != server.caption(photograph.read_bytes()).json["caption"]
        assert '<option value="">no (default)</option>\n<option value="true">yes</option>' in text


def test_attention_is_shown_unless_it_is_switched_off(attention_server: Served, photograph: Path) -> None:
    content = photograph.read_bytes()
    with_maps = attention_server.send_form("/", content, attention="true")
    words = attention_server.caption(content, attention="true").json["attention"]["words"]
    page = Parsed(with_maps.body)
    labels = [svg["aria-label"] for svg in page.all("svg") if "aria-label" in svg]
    assert labels == [f"Attention of {word}" for word in words]
    assert len(page.all("rect")) == len(words), "one strongest region of each"
    assert len(page.all("use")) == len(words) <= len(page.all("path"))
    (checkbox,) = [field for field in page.all("input") if field["name"] == "attention"]
    assert "checked" in checkbox
    without = Parsed(attention_server.send_form("/", content).body)
    assert not without.all("rect")
    assert "checked" not in next(field for field in without.all("input") if field["name"] == "attention")
