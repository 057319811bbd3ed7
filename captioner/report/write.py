"""Write the report of runs as an HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from captioner.report.collect import Report, Selection, collect
from captioner.report.page import render_page
from captioner.report.template import is_page, write_page
from captioner.storage.files import check_output


def write_report(
    path: Path, runs: Sequence[Path], selection: Selection | None = None, overwrite: bool = False
) -> Report:
    """Write the report of runs to a file.

    Raises: as `collect`; UsageError if the file exists and `overwrite` is not set; CaptionerError if it cannot be
    written.
    """
    check_output(path, overwrite, "an HTML page", is_page)
    report = collect(runs, selection or Selection())
    write_page(path, render_page(report.page))
    return report
