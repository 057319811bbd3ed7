"""The content of a report page, and its rendering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from captioner.report.chart import Drawing
from captioner.report.run_facts import RunFacts
from captioner.report.template import load_script, render

if TYPE_CHECKING:
    from captioner.report.compare import Comparison
    from captioner.report.data_facts import DataTable
    from captioner.report.gallery import Gallery
    from captioner.report.scores import Figure, ScoreTable
    from captioner.report.vocabulary import WordUse

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
