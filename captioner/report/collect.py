"""Collect the report of runs: restore, score and caption, without writing anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from captioner.errors import UsageError
from captioner.evaluation.evaluate import evaluate_split
from captioner.evaluation.runs import NamedCaptioner, open_captioners
from captioner.inference.attention_files import pictures_of_split
from captioner.metrics import NAMES, scores_from_sums
from captioner.printable import printable
from captioner.report.compare import compare
from captioner.report.curves import curves
from captioner.report.data_facts import data_table
from captioner.report.gallery import build_gallery, choose
from captioner.report.gradients import gradient_chart
from captioner.report.page import Page
from captioner.report.run_facts import LONGEST, collect_facts, run_names
from captioner.report.scores import figures_of_scores, score_table
from captioner.report.vocabulary import word_use

MAX_APART = 8
"""Images at most whose captions by several runs are compared."""
MAX_RUNS = 6
"""Runs that colours and dashes distinguish."""


class Report(NamedTuple):
    """The content of a page, warnings about the runs, the metadata of the data set, and the images shown."""

    page: Page
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
    split = selection.split
    pictures = pictures_of_split(corpus, split, selection.images)
    names = run_names([captioner.loaded.path for _, captioner in opened])
    captioners = {name: captioner for name, (_, captioner) in zip(names, opened, strict=True)}
    models = {name: captioner.loaded for name, captioner in captioners.items()}
    evaluated = evaluate_split([NamedCaptioner(*pair) for pair in captioners.items()], corpus, split)
    record = {**evaluated.record(), "split": printable(split, LONGEST)}
    cider = np.stack([scores_from_sums(one.rows)[:, NAMES.index("cider_d")] for one in evaluated.scored])
    captions = [one.captions for one in evaluated.scored]
    rows = corpus.split(split).captioned_images.tolist()
    facts = [collect_facts(name, one.path.parent, one.config, one) for name, one in models.items()]
    chosen = {rows[number]: scored for number, scored in choose(cider[0], selection.shown).items()}
    said = dict(zip(rows, captions[0], strict=True))
    gallery = build_gallery(captioners[names[0]], corpus, split, [*chosen], pictures, selection.n_best, chosen, said)
    same_words = all(one.vocab == corpus.vocab for one in models.values())
    several, comparison = len(names) > 1, None
    if several:
        comparison = compare(
            record, names, cider, captions, corpus.split(split), corpus.vocab, pictures, min(selection.shown, MAX_APART)
        )
    page = Page(
        title=" and ".join(names) if len(names) < 3 else f"{names[0]} and {len(names) - 1} other runs",
        runs=facts,
        curves=curves({one.name: one.history for one in facts}),
        figures=[] if several else figures_of_scores(record),
        data=data_table(corpus, models[names[0]].config.data.source if selection.data is None else "that of --data"),
        scores=score_table(record, names),
        gallery=gallery,
        words=[
            word_use(name, number, one.captions, one.scores, corpus.split(split), corpus.vocab)
            for number, (name, one) in enumerate(zip(names, evaluated.scored, strict=True) if same_words else ())
        ],
        gradients=gradient_chart(models, corpus.split(split)) if same_words else None,
        comparison=comparison,
    )
    warnings = [*(warning for one in captioners.values() for warning in one.warnings), *record["warnings"]]
    return Report(page, warnings, corpus.about, gallery.missing, len(gallery.entries))
