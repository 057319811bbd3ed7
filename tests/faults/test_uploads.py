"""The hostile requests to the server, at a small size; an answer that leaks or hangs counts as a failure."""

from pathlib import Path

import pytest

from faults import uploads
from faults.session import ROOT, Session


def test_no_hostile_request_escapes(tmp_path: Path) -> None:
    found, figure = uploads.measure(Session(tmp_path, share=0.001))
    assert "escaped" in found
    assert (found["trials"], found["escaped"]) == (len(uploads.ATTACKS), 0), found["notes"]
    assert "got" in figure


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b'{"caption": "a"}', "captioned"),
        (200, b'{"error": "a"}', "wrong"),
        (422, b'{"error": "a"}', "refused"),
        (500, b'{"error": "a"}', "wrong"),
        (422, b'{"error": "Traceback"}', "messy"),
        (422, f'{{"error": "{ROOT}/captioner"}}'.encode(), "messy"),
        (422, b'{"error": "object at 0x7f0011223344"}', "messy"),
    ],
)
def test_answers_are_judged(status: int, body: bytes, kind: str) -> None:
    assert uploads.judge(status, body).kind == kind
