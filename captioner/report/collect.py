"""Collect the report of runs: restore, score and caption, without writing anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from captioner.arrays import Array
from captioner.data.corpus import Corpus
from captioner.errors import UsageError, printable
from captioner.evaluation.evaluate import NamedCaptioner, evaluate_split, open_captioners
from captioner.evaluation.scoring import ScoredCaptions
from captioner.inference.captioner import Captioner
from captioner.metrics import NAMES, scores_from_sums
from captioner.report.compare import Comparison, compare
from captioner.report.curves import curves
from captioner.report.data_facts import DataTable, data_table
from captioner.report.gallery import Gallery, build_gallery, choose
from captioner.report.gradients import gradient_chart
from captioner.report.page import ReportPage
from captioner.report.pictures import Picture, pictures_of_split
from captioner.report.run_facts import LONGEST, RunFacts, collect_facts, run_names
from captioner.report.scores import figures_of_scores, score_table
from captioner.report.vocabulary import word_use

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
