"""The page of runs: restore, score and caption, compare, and render what was collected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from captioner.arrays import Array
from captioner.data.corpus import Corpus, Split
from captioner.data.vocabulary import Vocab
from captioner.errors import UsageError, printable
from captioner.evaluation.evaluate import NamedCaptioner, evaluate_split, open_captioners
from captioner.evaluation.scoring import ScoredCaptions
from captioner.evaluation.titles import SCORES
from captioner.inference.captioner import Captioner
from captioner.metrics import NAMES, scores_from_sums
from captioner.report.chart import Drawing
from captioner.report.curves import curves, gradient_chart
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
    DataTable,
    Figure,
    ScoreTable,
    WordUse,
    data_table,
    figures_of_scores,
    interval,
    score,
    score_table,
    word_use,
)
from captioner.report.run_facts import LONGEST, RunFacts, collect_facts, run_names
from captioner.report.template import is_page, load_script, render
from captioner.storage.atomic import write_file
from captioner.storage.files import check_output

SECTIONS = {
    "scores": "Scores",
    "comparison": "Differences",
    "curves": "Training curves",
    "gallery": "Captions",
    "words": "Vocabulary",
    "gradients": "Gradient norms through time",
    "runs": "Model, data and environment",
}
"""The sections by the attribute of their content, in the order of the page."""
IDS = {"gallery": "captions", "runs": "setup"}
"""The anchors of sections that are not called like the attribute."""


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
    data: DataTable | None = None
    scores: ScoreTable | None = None
    gallery: Gallery | None = None
    words: Sequence[WordUse] = ()
    gradients: Drawing | None = None
    comparison: Comparison | None = None

    @property
    def sections(self) -> dict[str, str]:
        """The titles of the sections that have content, by anchor."""
        return {IDS.get(name, name): title for name, title in SECTIONS.items() if getattr(self, name)}

    @property
    def lead(self) -> list[str]:
        """One line about each run: model, size and training."""
        return [_lead(run, len(self.runs) > 1) for run in self.runs]


LEAD = {"recurrent cell": "{}", "attention": "attention: {}", "parameters": "parameters: {}", "decoding": "{}"}
"""The properties of the model in the first lines of the page."""


def _lead(run: RunFacts, is_named: bool) -> str:
    parts = [form.format(run.model[key]) for key, form in LEAD.items() if key in run.model]
    text = "; ".join([*parts, f"training steps: {run.training['steps']}"])
    return f"{run.name}: {text}" if is_named else text


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
    head: list[str]
    rows: list[list[str]]
    entries: list[CaptionDifference]


def compare(
    record: Mapping[str, Any],
    names: Sequence[str],
    cider: Array,
    captions: Sequence[Sequence[str]],
    split: Split,
    vocab: Vocab,
    pictures: Callable[[int], Picture],
    count: int,
) -> Comparison:
    """Compare runs by the record of their evaluation, and find the `count` images whose CIDEr-D differs most.

    Shapes: R names, cider (R, N), R lists of N captions, for the N images of the split that have references.
    """
    first, *others = names
    compared = list(record["others"].values())
    table = [
        [
            title,
            *(f"{score(record[key] - one[key], '+')}  ({interval(one['difference'][key], '+')})" for one in compared),
        ]
        for key, title in SCORES.items()
    ]
    rows = split.captioned_images.tolist()
    differences = cider.max(axis=0) - cider.min(axis=0)
    entries = []
    for number in np.argsort(-differences, kind="stable")[:count].tolist():
        if not differences[number] > 0:
            break
        captions_of_runs = zip(
            names, (printable(own[number], MAX_TEXT) for own in captions), cider[:, number].tolist(), strict=True
        )
        row = rows[number]
        references = [shown_text(one) for one in split.references(row, vocab)[:MAX_REFERENCES]]
        picture = embed_or_none(pictures(row), SIDE, False)
        entries.append(CaptionDifference(shown_name(split.image_ids[row]), picture, [*captions_of_runs], references))
    note = (
        f"The scores of {first} minus those of the other runs, on the same images. If an interval does not contain 0, "
        "the choice of the images alone does not explain the difference."
    )
    return Comparison(note, ["", *(f"{first} minus {other}" for other in others)], table, entries)


Pictures = Callable[[int], Picture]
MAX_DIFFERENCES = 8
"""Images at most whose captions by several runs are compared."""
MAX_RUNS = 6
"""Runs that colours and dashes distinguish."""


class Report(NamedTuple):
    """The content of a page, warnings about the runs, the metadata of the data set, and the images shown."""

    page: ReportPage
    warnings: list[str]
    about: Mapping[str, Any]
    missing: int
    shown: int


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
    names = run_names([captioner.loaded.path for _, captioner in opened])
    captioners = {name: captioner for name, (_, captioner) in zip(names, opened, strict=True)}
    evaluated = evaluate_split([NamedCaptioner(*pair) for pair in captioners.items()], corpus, selection.split)
    record = {**evaluated.record(), "split": printable(selection.split, LONGEST)}
    source = opened[0][1].loaded.config.data.source
    gallery = _gallery(captioners[names[0]], corpus, selection, pictures, evaluated.scored[0])
    page = build_page(
        [
            collect_facts(name, one.loaded.path.parent, one.loaded.config, one.loaded)
            for name, one in captioners.items()
        ],
        record,
        data_table(corpus, source if selection.data is None else printable(selection.data.name, LONGEST)),
        gallery,
        _comparison(names, record, evaluated.scored, corpus, selection, pictures),
    )
    if all(one.loaded.vocab == corpus.vocab for one in captioners.values()):
        page = _with_words(page, captioners, evaluated.scored, corpus, selection.split)
    warnings = [*(warning for one in captioners.values() for warning in one.warnings), *record["warnings"]]
    return Report(page, warnings, corpus.about, gallery.missing, len(gallery.entries))


def build_page(
    facts: Sequence[RunFacts],
    record: Mapping[str, Any],
    data: DataTable,
    gallery: Gallery,
    comparison: Comparison | None,
) -> ReportPage:
    """Build the page of runs from their facts, the record of their evaluation, and images."""
    names = [one.name for one in facts]
    return ReportPage(
        title=" and ".join(names) if len(names) < 3 else f"{names[0]} and {len(names) - 1} other runs",
        runs=facts,
        curves=curves({one.name: one.history for one in facts}),
        figures=figures_of_scores(record) if len(names) == 1 else [],
        data=data,
        scores=score_table(record, names),
        gallery=gallery,
        comparison=comparison,
    )


def _gallery(
    captioner: Captioner, corpus: Corpus, selection: Selection, pictures: Pictures, scored: ScoredCaptions
) -> Gallery:
    """Show the best and the worst images of the first run."""
    split = selection.split
    rows = corpus.split(split).captioned_images.tolist()
    chosen = {rows[number]: one for number, one in choose(_cider(scored), selection.shown).items()}
    captions = dict(zip(rows, scored.captions, strict=True))
    return build_gallery(captioner, corpus, split, [*chosen], pictures, selection.n_best, chosen, captions)


def _comparison(
    names: Sequence[str],
    record: Mapping[str, Any],
    scored: Sequence[ScoredCaptions],
    corpus: Corpus,
    selection: Selection,
    pictures: Pictures,
) -> Comparison | None:
    if len(names) == 1:
        return None
    cider, captions = np.stack([_cider(one) for one in scored]), [one.captions for one in scored]
    count = min(selection.shown, MAX_DIFFERENCES)
    return compare(record, names, cider, captions, corpus.split(selection.split), corpus.vocab, pictures, count)


def _with_words(
    page: ReportPage,
    captioners: Mapping[str, Captioner],
    scored: Sequence[ScoredCaptions],
    corpus: Corpus,
    name: str,
) -> ReportPage:
    """Add what compares the words of runs with those of the data set, which needs one vocabulary."""
    split = corpus.split(name)
    words = [
        word_use(run, number, one.captions, one.scores, split, corpus.vocab)
        for number, (run, one) in enumerate(zip(captioners, scored, strict=True))
    ]
    models = {run: captioner.loaded for run, captioner in captioners.items()}
    return replace(page, words=words, gradients=gradient_chart(models, split))


def _cider(scored: ScoredCaptions) -> Array:
    """Return the CIDEr-D of each image."""
    cider: Array = scores_from_sums(scored.rows)[:, NAMES.index("cider_d")]
    return cider


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
