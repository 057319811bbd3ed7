"""Pages as HTML: untrusted texts are escaped, and nothing is loaded."""

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np

from captioner.captioning.caption import Attention, Candidate, Caption
from captioner.report.chart import History, Series, curves, draw
from captioner.report.gallery import Embedded, Gallery, GalleryEntry, Scored, WordMap
from captioner.report.page import Figure, Report, RunFacts, Table, render_report

HOSTILE = "</script><script>alert('1')</script>\"><img src=x onerror=alert(2)>'{{ 7 * 7 }}猫"


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def report_of(text: str, **parts: Any) -> bytes:
    """Render a report with this text wherever a run or a data set has text, but for other `parts`."""
    warning = {"step": 1, "problem": text}
    facts = RunFacts(text, History([], [], [warning]), text, {"decoder": text}, {"steps": text})
    picture = Embedded("data:image/png;base64,AA==", 64, 64)
    word = WordMap(text, picture.uri, 0, 0, 0.5, 0.25)
    attention = Attention([text], np.ones((1, 2)), (1, 1))
    caption = Caption(text, text, -1.0, [text] * 5, True, [Candidate(text, -1.0)] * 2, attention)
    entry = GalleryEntry(0, caption, picture, [word], Scored(0.5, "best"))
    table = Table(text, [text], [[text, text]])
    chart = draw(text, text, [Series(text, [(1, 1)]), Series(text, [(1, 1)])])
    assert chart is not None
    entries = [entry, entry._replace(picture=None), entry._replace(words=[])]
    report = Report(
        run=facts,
        curves=[chart],
        figures=[Figure(text, text, text)],
        data=table,
        scores=table,
        gallery=Gallery(text, entries, 1),
    )
    return render_report(replace(report, **parts))


def test_a_warning_about_captions_is_beside_the_curve_that_shows_it() -> None:
    validation = {"step": 4, "loss": 2.0, "perplexity": 7.4}
    warning = {"step": 4, "collapse": "identical", "problem": "the same caption"}
    for records, chart in (([validation], "Loss"), ([{**validation, "scores": {"cider_d": 0.1}}], "CIDEr-D")):
        facts = RunFacts("a", History([], records, [warning]), "", training={"steps": "4"})
        page = report_of("plain", run=facts, curves=curves(facts.history)).decode()
        (figure,) = [figure for figure in page.split('<figure class="chart"') if "same caption" in figure]
        assert f"<h3>{chart}</h3>" in figure


def test_a_run_without_a_history_and_other_options() -> None:
    page = Elements(report_of("plain", run=RunFacts("a", History([], [], []), "", {}, {"steps": "0"}), curves=[]))
    assert [attributes["id"] for tag, attributes in page.elements if tag == "h2"] == ["scores", "captions", "setup"]
    assert "All options have their defaults." in page.text


def test_untrusted_texts_are_escaped_everywhere() -> None:
    plain, hostile = (Elements(report_of(text)) for text in ("plain", HOSTILE))
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in plain.elements]
    assert [sorted(attributes) for _, attributes in hostile.elements] == [sorted(attrs) for _, attrs in plain.elements]
    assert hostile.text.count(HOSTILE) == plain.text.count("plain") > 30


def test_control_characters_are_escaped_everywhere() -> None:
    """Among them those that reverse the direction of text, so that a name ends with another suffix."""
    page = report_of("a\x00b\x1b[2Jc\u202egpj.exe\udcff\x85").decode()
    assert [line for line in page.split("\n") if not line.isprintable()] == []
    assert Elements(page.encode()).text.count(r"a\x00b\x1b[2Jc\u202egpj.exe\udcff\x85") > 4


def test_spaces_and_soft_hyphens_are_characters_of_a_text() -> None:
    text = "10\xa0km\tand\u3000a soft\xadhyphen"
    assert Elements(report_of(text)).text.count(text) > 4


def test_only_its_own_script_may_run() -> None:
    page = report_of(HOSTILE)
    (script,) = re.findall(r"<script>(.*?)</script>", page.decode(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert [attrs["content"] for _, attrs in Elements(page).elements if attrs.get("http-equiv")] == [policy]


def test_nothing_is_loaded() -> None:
    page = report_of("plain").decode()
    for pattern in (r"https?:", r"url\(", "@import", r'src="(?!data:)', r'href="(?!#|data:)'):
        assert not re.search(pattern, page), pattern
    assert re.findall(r"<link[^>]*>", page) == ['<link rel="icon" href="data:,">'], "no request for a favicon"
    assert not {"iframe", "object"} & {tag for tag, _ in Elements(page.encode()).elements}
