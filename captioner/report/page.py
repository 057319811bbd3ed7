"""The page about a run: open, score and caption, and render what was collected.

It states measurements and facts from the run folder, without paths and names of the machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from captioner.captioning.saved_model import LoadedModel, model_properties
from captioner.config.overrides import NONE, Values
from captioner.config.yaml_io import config_differences
from captioner.data.corpus import Corpus
from captioner.data.summary import ROWS, summarize_split
from captioner.errors import printable
from captioner.evaluation.evaluate import evaluate_split, open_captioners
from captioner.evaluation.score_format import STATISTICS, format_interval, format_score, score_rows
from captioner.evaluation.scoring import FEW_IMAGES
from captioner.files.atomic import write_file
from captioner.files.user_files import check_output
from captioner.metrics import TITLES, image_scores
from captioner.report.chart import Drawing, History, curves, read_history
from captioner.report.gallery import Gallery, build_gallery, choose, pictures_of_split
from captioner.report.template import is_page, load_script, render
from captioner.training.run import LABELS

MAX_NAME, MAX_LINE = 80, 200
"""Maximum characters of a name, and of a property or an option."""
MAX_WARNINGS, MAX_WARNING = 20, 300
"""Maximum number of warnings, and characters of one."""


@dataclass(frozen=True)
class RunFacts:
    """A run: its measurements, the options that differ from the defaults as YAML, and properties as plain text."""

    name: str
    history: History
    differences: str
    model: dict[str, str] = field(default_factory=dict)
    training: dict[str, str] = field(default_factory=dict)

    @property
    def warnings(self) -> list[str]:
        """The last warning of each kind, of at most `MAX_WARNINGS`, with the steps of its first and last record."""
        kinds: dict[str, tuple[int, dict[str, Any]]] = {}
        for record in self.history.warnings:
            kind = str(record.get("collapse", record.get("problem")))
            first, _ = kinds.get(kind, (int(record["step"]), record))
            kinds[kind] = first, record
        return [_warning(*steps) for steps in kinds.values()][:MAX_WARNINGS]


def _warning(first: int, record: dict[str, Any]) -> str:
    last, problem = int(record["step"]), printable(record.get("problem", ""), MAX_WARNING)
    return f"{problem} (step {last:,})" if first == last else f"{problem} (steps {first:,} to {last:,})"


def facts_of_run(name: str, loaded: LoadedModel) -> RunFacts:
    """Return the facts of a run: of its model, and of the files of its folder, of which missing or damaged ones are
    left out.
    """
    history = read_history(loaded.path.parent)
    properties = model_properties(loaded)
    return RunFacts(
        name,
        history,
        "\n".join(printable(line, MAX_LINE) for line in config_differences(loaded.config).splitlines()),
        {title: printable(value, MAX_LINE) for title, value in properties.items()},
        dict(_training(history, loaded)),
    )


def _training(history: History, loaded: LoadedModel) -> Iterator[tuple[str, str]]:
    meta, epoch, end = loaded.meta, history.last_epoch, history.end
    step = max(history.last_step, meta.step)
    yield "steps", f"{step:,}" + (f" ({epoch:,} epoch{'s' if epoch != 1 else ''})" if epoch else "")
    yield "checkpoint", loaded.checkpoint
    if isinstance(end.get("ended"), str):
        yield "ended", printable(end["ended"], MAX_NAME)
    if _is_time(end.get("seconds")):
        yield "time", f"{end['seconds']:,.0f} s"
    if _is_time(end.get("words_per_second")):
        yield "speed", f"{end['words_per_second']:,.0f} words per second"
    if known := [f"{label} {meta.environment[key]}" for key, label in LABELS.items() if key in meta.environment]:
        yield "environment", printable(", ".join(known), MAX_LINE)


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and 0 <= value < 1e9


HEADLINES = ("cider_d", "bleu4", "rouge_l")
"""The scores in the header of the page."""


class Figure(NamedTuple):
    """A number of the header: title, value, and the text below it."""

    title: str
    value: str
    interval: str = ""


class Table(NamedTuple):
    """A table: its title, its head, and a row of cells for each score or split."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def figures_of_scores(record: Mapping[str, Any]) -> list[Figure]:
    """Return the most important scores of a run."""
    scores = {key: (format_score(record[key]), format_interval(record["intervals"][key])) for key in HEADLINES}
    figures = [Figure(TITLES[key], *cells) for key, cells in scores.items()]
    for key, title in (("perplexity", "Perplexity"), ("correct", "Fully correct captions")):
        if record.get(key) is not None:
            figures.append(Figure(title, f"{record[key]:{STATISTICS[key][1]}}"))
    return figures


def score_table(record: Mapping[str, Any], name: str) -> Table:
    """Tabulate the record of an evaluation; `name` is that of the run."""
    few = f" Intervals from fewer than {FEW_IMAGES} images are unreliable." if record["images"] < FEW_IMAGES else ""
    title = (
        f"Scores of {record['images']:,} images of {record['split']}, multiplied by 100 (CIDEr-D has no maximum of "
        f"100), with 95 % bootstrap intervals over the images.{few}"
    )
    return Table(title, ["", name], score_rows([record]))


def data_table(corpus: Corpus, name: str) -> Table:
    """Tabulate the splits of a data set; `name` is its kind."""
    rows = []
    for split_name, split in corpus.splits.items():
        facts = summarize_split(split, corpus.vocab)
        cells = (format(facts[key], spec) for key, (_, spec) in ROWS.items())
        rows.append([printable(split_name, MAX_NAME), *cells])
    encoder = printable(corpus.encoder, MAX_NAME)
    title = f"Data set: {name}; image features of {encoder} ({corpus.feature_dim:,} dimensions)"
    return Table(title, ["split", *(title for title, _ in ROWS.values())], rows)


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
        """Return the warnings of training that are beside a chart: CIDEr-D, or else the first."""
        shows_them = next((chart for chart in self.curves if chart.title == "CIDEr-D"), self.curves[0])
        return self.run.warnings if drawing is shows_them else []


def render_report(report: Report) -> bytes:
    """Render a report as HTML."""
    return render("report.html", title=report.run.name, page=report, script=load_script("report.js"))


def write_report(
    path: Path,
    run: Path,
    overrides: Values = NONE,
    *,
    data: Path | None = None,
    split: str = "val",
    images: Path | None = None,
    shown: int = 24,
    overwrite: bool = False,
) -> Report:
    """Score the captions of a run, and write the report to a file, with `shown` images of a split.

    The split is one of `data`, or else of the data set of the run. `overrides` change how captions are decoded, and the
    number of candidates. Photographs are read only from the folder `images`.

    Raises: CheckpointError, DataError, ConfigError and UsageError, as `open_captioners`; UsageError if the file exists
    and `overwrite` is not set; CaptionerError if it cannot be written.
    """
    may_replace = check_output(path, overwrite, "an HTML page", is_page)
    ((name, captioner),), corpus = open_captioners([run], {"caption.n_best": CANDIDATES, **overrides}, False, data)
    pictures = pictures_of_split(corpus, split, images)
    evaluated = evaluate_split([(name, captioner)], corpus, split)
    record = {**evaluated.record(), "split": printable(split, MAX_NAME)}
    (scored,) = evaluated.scored
    facts = facts_of_run(printable(name, MAX_NAME), captioner.loaded)
    source = captioner.loaded.config.data.source if data is None else printable(data.name, MAX_NAME)
    rows = corpus.split(split).captioned_images.tolist()
    chosen = {rows[number]: image for number, image in choose(image_scores(scored.rows, "cider_d"), shown).items()}
    report = Report(
        run=facts,
        curves=curves(facts.history),
        figures=figures_of_scores(record),
        data=data_table(corpus, source),
        scores=score_table(record, facts.name),
        gallery=build_gallery(captioner, corpus, split, pictures, chosen),
        warnings=[*captioner.warnings, *record["warnings"]],
        about=corpus.about,
    )
    write_file(path, render_report(report), may_replace)
    return report
