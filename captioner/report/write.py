"""Write the report of runs as an HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from captioner.pages.template import write_page
from captioner.report.collect import DEFAULT_N_BEST, DEFAULT_SHOWN, Report, collect
from captioner.report.page import render_page
from captioner.storage.files import check_output


def write_report(
    path: Path,
    runs: Sequence[Path],
    overrides: Sequence[str] = (),
    data: Path | None = None,
    split: str = "val",
    images: Path | None = None,
    shown: int = DEFAULT_SHOWN,
    n_best: int = DEFAULT_N_BEST,
    overwrite: bool = False,
) -> Report:
    """Write the report that `collect` makes of these arguments to a file.

    Raises: as `collect`; UsageError if the file exists and `overwrite` is not set;
    CaptionerError if it cannot be written.
    """
    check_output(path, overwrite)
    report = collect(runs, overrides, data, split, images, shown, n_best)
    write_page(path, render_page(report.page))
    return report
