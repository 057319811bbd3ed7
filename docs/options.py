"""Generate the table of options in docs/config.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from captioner.config.option_table import OPTIONS, write

PAGE = Path(__file__).with_name("config.md")
TABLE = re.compile(r"(?<=<!-- options:begin -->\n).*(?=<!-- options:end -->)", re.DOTALL)


def rows() -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| option | default | values | meaning |"
    yield "|---|---|---|---|"
    for path, option in OPTIONS.items():
        meaning = option.doc.replace("|", "\\|").replace("<", "&lt;")
        yield f"| `{path}` | `{write(option, option.default)}` | {option.expected()} | {meaning} |"


def render(page: str) -> str:
    """Return the page with the table of the present options."""
    return TABLE.sub(lambda _: "".join(f"{row}\n" for row in rows()), page)


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text()))
