"""The page about a run: restore, score and caption, and render what was collected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captioner.config.overrides import Values
from captioner.errors import printable
from captioner.evaluation.evaluate import evaluate_split, open_captioners
from captioner.files.atomic import write_file
from captioner.files.user_files import check_output
from captioner.metrics import image_scores
from captioner.report.chart import Drawing, curves
from captioner.report.facts import (
    MAX_NAME,
    Figure,
    RunFacts,
    Table,
    data_table,
    facts_of_run,
    figures_of_scores,
    score_table,
)
from captioner.report.gallery import Gallery, build_gallery, choose, pictures_of_split
from captioner.report.template import is_page, load_script, render

LEAD = {"decoder": "{}", "attention": "attention: {}", "parameters": "parameters: {}", "decoding": "{}"}
"""The properties of the model in the first line of the page."""
CANDIDATES = 5
"""Captions per image, unless `caption.n_best` is overridden."""


@dataclass(frozen=True)
class Report:
    """Everything that a report shows; and, for its reader, warnings about the run and the metadata of the data set."""

    run: RunFacts
    curves: Sequence[Drawing]
    figures: Sequence[Figure]
    data: Table
    scores: Table
    gallery: Gallery
    warnings: Sequence[str] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def lead(self) -> str:
        """One line about the run: model, size and training."""
        model = self.run.model
        parts = [form.format(model[key]) for key, form in LEAD.items() if key in model]
        return "; ".join([*parts, f"training steps: {self.run.training['steps']}"])

    def problems(self, drawing: Drawing) -> list[str]:
        """Return the warnings about caption collapse that belong to a chart: to CIDEr-D, or else to the first."""
        shows_them = next((chart for chart in self.curves if chart.title == "CIDEr-D"), self.curves[0])
        return self.run.warnings if drawing is shows_them else []


def render_report(report: Report) -> bytes:
    """Render a report as HTML."""
    return render("report.html", title=report.run.name, page=report, script=load_script("report.js"))


@dataclass(frozen=True)
class Selection:
    """What a report shows: a split of `data`, or else of the data set of the run, and `shown` images of it.

    `overrides` change how captions are decoded, and the number of candidates. Photographs are read
    only from the folder `images`.
    """

    overrides: Values = field(default_factory=dict)
    data: Path | None = None
    split: str = "val"
    images: Path | None = None
    shown: int = 24


def collect(run: Path, selection: Selection) -> Report:
    """Score the captions of a run, and describe the run.

    Raises: CheckpointError, DataError, ConfigError and UsageError, as `open_captioners`.
    """
    overrides = {"caption.n_best": CANDIDATES, **selection.overrides}
    ((name, captioner),), corpus = open_captioners([run], overrides, False, selection.data)
    loaded = captioner.loaded
    pictures = pictures_of_split(corpus, selection.split, selection.images)
    evaluated = evaluate_split([(name, captioner)], corpus, selection.split)
    record = {**evaluated.record(), "split": printable(selection.split, MAX_NAME)}
    (scored,) = evaluated.scored
    facts = facts_of_run(printable(name, MAX_NAME), loaded)
    data = loaded.config.data.source if selection.data is None else printable(selection.data.name, MAX_NAME)
    rows = corpus.split(selection.split).captioned_images.tolist()
    cider = image_scores(scored.rows, "cider_d")
    chosen = {rows[number]: image for number, image in choose(cider, selection.shown).items()}
    captions = dict(zip(rows, scored.captions, strict=True))
    return Report(
        run=facts,
        curves=curves(facts.history),
        figures=figures_of_scores(record),
        data=data_table(corpus, data),
        scores=score_table(record, facts.name),
        gallery=build_gallery(captioner, corpus, selection.split, pictures, chosen, captions),
        warnings=[*captioner.warnings, *record["warnings"]],
        about=corpus.about,
    )


def write_report(path: Path, run: Path, selection: Selection | None = None, overwrite: bool = False) -> Report:
    """Write the report of a run to a file.

    Raises: as `collect`; UsageError if the file exists and `overwrite` is not set; CaptionerError if it cannot be
    written.
    """
    check_output(path, overwrite, "an HTML page", is_page)
    report = collect(run, selection or Selection())
    write_file(path, render_report(report))
    return report
