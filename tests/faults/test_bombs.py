"""Trials with small files that would need much time: they are refused, and a disabled limit is detected."""

from pathlib import Path

import pytest

from faults.models import run_endless
from faults.photographs import TOO_MANY_PIXELS, Photograph, write_flat

SCANS = len(TOO_MANY_PIXELS)
"""The number of the trial with too many scans."""


def test_a_jpeg_with_too_many_scans_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_flat(tmp_path / "scans", 64, progressive=True)
    trial = Photograph(tmp_path, 0)
    assert trial(SCANS).kind == "refused"
    monkeypatch.setattr("captioner.images.photo.MAX_SCANS", 10**9)
    assert trial(SCANS).kind == "silent"


def test_a_photograph_with_too_many_pixels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_flat(tmp_path / "JPEG", 9500)
    assert Photograph(tmp_path, 0)(0).kind == "refused"
    write_flat(tmp_path / "JPEG", 64)
    assert Photograph(tmp_path, 0)(0).kind == "silent"


@pytest.mark.parametrize("number", [1, 2])
def test_an_endless_model_is_stopped(number: int) -> None:
    assert run_endless(number).kind == "refused"
