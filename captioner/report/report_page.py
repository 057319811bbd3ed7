"""The page of runs: restore, score and caption, compare, and render what was collected."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from captioner.arrays import Array
from captioner.data.corpus import Split
from captioner.data.vocabulary import Vocab
from captioner.errors import UsageError, printable
from captioner.evaluation.evaluate import evaluate_split, open_captioners
from captioner.evaluation.scoring import ScoredCaptions
from captioner.metrics import NAMES, scores_from_sums
from captioner.report.chart import Drawing, curves
from captioner.report.gallery import (
    MAX_REFERENCES,
    MAX_TEXT,
    SIDE,
    Gallery,
    build_gallery,
    choose,
    shown_name,
    shown_text,
)
from captioner.report.pictures import Embedded, Picture, embed_or_none, pictures_of_split
from captioner.report.report_tables import (
    Figure,
    ScoreTables,
    Table,
    data_table,
    difference_table,
    figures_of_scores,
    score_tables,
)
from captioner.report.run_facts import LONGEST, RunFacts, facts_of_folder, run_names
from captioner.report.template import is_page, load_script, render
from captioner.storage.atomic import write_file
from captioner.storage.files import check_output

SECTIONS = {
    "scores": ("scores", "Scores"),
    "comparison": ("comparison", "Differences"),
    "curves": ("curves", "Training curves"),
    "captions": ("gallery", "Captions"),
    "setup": ("runs", "Model, data and environment"),
}
"""The sections by their anchors, in the order of the page: the attribute with their content, and their titles."""
DIFFERENCES = (
    "The scores of {} minus those of the other runs, on the same images. If an interval does not contain 0, the choice "
    "of the images alone does not explain the difference."
)
MAX_DIFFERENCES = 8
"""Images at most whose captions by several runs are compared."""
MAX_RUNS = 6
"""Runs that colours and dashes distinguish."""


@dataclass(frozen=True)
class ReportPage:
    """Everything that a report shows; sections without content are omitted. `status` describes a run in training.

    `progress` has its steps done and in total; the page reloads itself every `reload` seconds, unless that is 0.
    """

    title: str
    runs: Sequence[RunFacts]
    curves: Sequence[Drawing]
    status: str = ""
    progress: tuple[int, int] | None = None
    reload: int = 0
    figures: Sequence[Figure] = ()
    data: Table | None = None
    scores: ScoreTables | None = None
    gallery: Gallery | None = None
    comparison: Comparison | None = None

    @property
    def sections(self) -> dict[str, str]:
        """The titles of the sections that have content, by anchor."""
        return {anchor: title for anchor, (name, title) in SECTIONS.items() if getattr(self, name)}

    @property
    def lead(self) -> list[str]:
        """One line about each run: model, size and training."""
        lines = []
        for run in self.runs:
            parts = [form.format(run.model[key]) for key, form in LEAD.items() if key in run.model]
            line = "; ".join([*parts, f"training steps: {run.training['steps']}"])
            lines.append(f"{run.name}: {line}" if len(self.runs) > 1 else line)
        return lines

    def problems(self, drawing: Drawing) -> list[str]:
        """Return the warnings about caption collapse that belong to a chart: to CIDEr-D, or else to the first."""
        if drawing is not next((chart for chart in self.curves if chart.title == "CIDEr-D"), self.curves[0]):
            return []
        several = len(self.runs) > 1
        return [f"{run.name}: {warning}" if several else warning for run in self.runs for warning in run.warnings]


LEAD = {"decoder": "{}", "attention": "attention: {}", "parameters": "parameters: {}", "decoding": "{}"}
"""The properties of the model in the first lines of the page."""


def render_page(page: ReportPage) -> bytes:
    """Render a page as HTML."""
    return render("report.html", title=page.title, page=page, script=load_script("report.js", "attention.js"))


class CaptionDifference(NamedTuple):
    """An image whose captions differ: its picture, and for each run the name, the caption and its CIDEr-D."""

    name: str
    picture: Embedded | None
    captions: list[tuple[str, str, float]]
    references: list[str]


class Comparison(NamedTuple):
    """The differences of the first run from the others, and images."""

    note: str
    table: Table
    entries: list[CaptionDifference]


class Report(NamedTuple):
    """The content of a page, warnings about the runs, and the metadata of the data set."""

    page: ReportPage
    warnings: list[str]
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Selection:
    """What a report shows: a split of `data`, or else of the data set of the first run, and `shown` images of it.

    `overrides` change how captions are decoded. Photographs are read only from the folder `images`.
    """

    overrides: Sequence[str] = ()
    data: Path | None = None
    split: str = "val"
    images: Path | None = None
    shown: int = 24
    n_best: int = 5


def collect(runs: Sequence[Path], selection: Selection) -> Report:
    """Score the captions of runs, and describe the runs. The gallery has the captions of the first run.

    Raises: UsageError for too many runs; CheckpointError, DataError, ConfigError and UsageError, as `open_captioners`.
    """
    if len(runs) > MAX_RUNS:
        raise UsageError(f"expected at most {MAX_RUNS} runs in a report, got {len(runs)}; name fewer")
    opened, corpus = open_captioners(runs, selection.overrides, False, selection.data)
    pictures = pictures_of_split(corpus, selection.split, selection.images)
    captioners = [captioner for _, captioner in opened]
    models = [captioner.loaded for captioner in captioners]
    names = run_names(name for name, _ in opened)
    evaluated = evaluate_split(list(zip(names, captioners, strict=True)), corpus, selection.split)
    record = {**evaluated.record(), "split": printable(selection.split, LONGEST)}
    split, scored = corpus.split(selection.split), evaluated.scored
    facts = [facts_of_folder(model.path.parent, model, name) for name, model in zip(names, models, strict=True)]
    data = models[0].config.data.source if selection.data is None else printable(selection.data.name, LONGEST)
    rows = split.captioned_images.tolist()
    chosen = {rows[number]: image for number, image in choose(_cider(scored[0]), selection.shown).items()}
    captions_by_row = dict(zip(rows, scored[0].captions, strict=True))
    comparison = None
    if len(runs) > 1:
        differences = caption_differences(scored, split, corpus.vocab, pictures)
        entries = list(islice(differences, min(selection.shown, MAX_DIFFERENCES)))
        comparison = Comparison(DIFFERENCES.format(names[0]), difference_table(record, names), entries)
    page = ReportPage(
        title=" and ".join(names) if len(names) < 3 else f"{names[0]} and {len(names) - 1} other runs",
        runs=facts,
        curves=curves({run.name: run.history for run in facts}),
        figures=figures_of_scores(record) if len(names) == 1 else [],
        data=data_table(corpus, data),
        scores=score_tables(record, names),
        gallery=build_gallery(
            captioners[0], corpus, selection.split, pictures, selection.n_best, chosen, captions_by_row
        ),
        comparison=comparison,
    )
    warnings = [*(warning for captioner in captioners for warning in captioner.warnings), *record["warnings"]]
    warnings += [f"{run.name}: {run.history.problem}" for run in facts if run.history.problem]
    return Report(page, warnings, corpus.about)


def _cider(captions: ScoredCaptions) -> Array:
    """Return the CIDEr-D of each image."""
    return scores_from_sums(captions.rows)[:, NAMES.index("cider_d")]


def caption_differences(
    runs: Sequence[ScoredCaptions], split: Split, vocab: Vocab, pictures: Callable[[int], Picture]
) -> Iterator[CaptionDifference]:
    """Yield the images whose CIDEr-D differs between runs, the largest difference first."""
    cider = np.stack([_cider(run) for run in runs])
    differences = cider.max(axis=0) - cider.min(axis=0)
    for number in np.argsort(-differences, kind="stable")[: np.count_nonzero(differences)].tolist():
        row = int(split.captioned_images[number])
        references = [shown_text(reference) for reference in split.references(row, vocab)[:MAX_REFERENCES]]
        picture = embed_or_none(pictures(row), SIDE, False)
        captions = [
            (run.name, printable(run.captions[number], MAX_TEXT), value)
            for run, value in zip(runs, cider[:, number].tolist(), strict=True)
        ]
        yield CaptionDifference(shown_name(split.image_ids[row]), picture, captions, references)


def write_report(
    path: Path, runs: Sequence[Path], selection: Selection | None = None, overwrite: bool = False
) -> Report:
    """Write the report of runs to a file.

    Raises: as `collect`; UsageError if the file exists and `overwrite` is not set; CaptionerError if it cannot be
    written.
    """
    check_output(path, overwrite, "an HTML page", is_page)
    report = collect(runs, selection or Selection())
    write_file(path, render_page(report.page))
    return report
