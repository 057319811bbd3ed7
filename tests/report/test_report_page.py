"""The page: untrusted texts are escaped, and only its own script may run."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from captioner.inference.caption import Attention, Candidate, Caption
from captioner.report.chart import Chart, Series, draw
from captioner.report.gallery import Gallery, GalleryEntry, Scored
from captioner.report.history import History
from captioner.report.pictures import Embedded, Overlay, WordMap
from captioner.report.report_page import CaptionDifference, Comparison, ReportPage, render_page
from captioner.report.report_tables import Figure, ScoreTables, Table, WordShare, WordUse
from captioner.report.run_facts import RunFacts

HOSTILE = "</script><script>alert('1')</script>\"><img src=x onerror=alert(2)>'{{ 7 * 7 }}"


def hostile_page(text: str) -> bytes:
    """Render a page with this text wherever a run or a data set has text."""
    warning = {"step": 1, "problem": text}
    facts = RunFacts(text, History([], [], [warning], []), text, {"recurrent cell": text}, {"steps": text})
    picture = Embedded("data:image/png;base64,AA==", 64, 64)
    word = WordMap(text, [Overlay(0.5, "M0 0h1v1h-1z")], 0, 0, 0.5, 0.25)
    attention = Attention([text], np.ones((1, 2)), (1, 1))
    caption = Caption(text, text, -1.0, [text] * 5, True, [Candidate(text, -1.0)] * 2, attention)
    entry = GalleryEntry(0, caption, picture, [word], Scored(0.5, "best"))
    table = Table(text, [text], [[text, text]])
    chart = draw(Chart(text, text, [Series(text, 0, [(1, 1)]), Series(text, 1, [(1, 1)])], x=text))
    assert chart is not None
    return render_page(
        ReportPage(
            title=text,
            runs=[facts, facts],
            curves=[chart],
            status=text,
            figures=[Figure(text, text, text)],
            data=table,
            scores=ScoreTables(text, table, table),
            gallery=Gallery(text, [entry, entry._replace(picture=None), entry._replace(words=[])], 1),
            words=[WordUse(text, [WordShare(text, 1.0, 1.0)], table, table)],
            gradients=chart,
            comparison=Comparison(text, table, [CaptionDifference(text, None, [(text, text, 1.0)], [text])]),
        )
    )


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_untrusted_texts_are_escaped_everywhere() -> None:
    plain, hostile = (Elements(hostile_page(text).decode()) for text in ("plain", HOSTILE))
    assert [tag for tag, _ in hostile.found] == [tag for tag, _ in plain.found]
    assert [sorted(attrs) for _, attrs in hostile.found] == [sorted(attrs) for _, attrs in plain.found]
    assert hostile.text.count(HOSTILE) == plain.text.count("plain") > 40


def test_only_its_own_script_may_run() -> None:
    page = hostile_page(HOSTILE).decode()
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [attrs["content"] for tag, attrs in Elements(page).found if attrs.get("http-equiv")]
    assert policy == (f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'")


@pytest.mark.parametrize("pattern", [r"https?://", r"url\(", "@import", r'src="(?!data:)', r'href="(?!#|data:)'])
def test_nothing_is_loaded(pattern: str) -> None:
    assert not re.search(pattern, hostile_page("plain").decode())


def test_sections_without_content_are_omitted() -> None:
    facts = RunFacts("a", History([], [], [], []), "", {}, {"steps": "0"})
    page = Elements(render_page(ReportPage("a", [facts], [])).decode())
    assert [attrs["id"] for tag, attrs in page.found if tag == "h2"] == ["setup"]
    assert "All options have their defaults." in page.text
