"""No text can leave its place in a Markdown page."""

import html
import re

from hypothesis import given
from hypothesis import strategies as st

from captioner.packaging.markdown import code, escaped, table
from captioner.printable import printable


@given(st.text() | st.text("\\`*_[]|~$<>&\n\r\x1b# -"))
def test_an_escaped_text_is_one_line_without_markdown(text: str) -> None:
    shown = escaped(text)
    assert "".join(shown.splitlines()) == shown
    assert not set("<>") & set(shown)
    without_pairs = re.sub(r"\\.", "", shown)
    assert not set("`*_[]|~$\\") & set(without_pairs)
    assert re.sub(r"\\(.)", r"\1", html.unescape(shown)) == printable(" ".join(text.split()), 2000)


def test_tables_and_code() -> None:
    assert table(("a", "b"), [("1", "2")]) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]
    assert code("yaml", "a: 1\nb: 2\n") == ["```yaml", "a: 1", "b: 2", "```"]
