"""What a report states about a run: measurements and facts from its folder, without paths and names of the machine, and
tables of its scores and its data set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from captioner.captioning.restore import LoadedModel, model_properties
from captioner.config.yaml_io import config_differences
from captioner.data.corpus import Corpus
from captioner.data.summary import ROWS, summarize_split
from captioner.errors import printable
from captioner.evaluation.score_format import (
    MAX_SOURCE,
    STATISTICS,
    format_interval,
    format_score,
    score_rows,
)
from captioner.evaluation.scoring import FEW_IMAGES
from captioner.metrics import TITLES
from captioner.training.run import describe_versions
from captioner.training.run_folder import end_of, records
from captioner.training.train import PARTS

LARGEST = 1e30
"""Numbers beyond it cannot be drawn."""
Points = list[tuple[float, float]]
"""Pairs of a step and a value, by ascending step."""


@dataclass(frozen=True)
class History:
    """The records of a run by kind, in file order: logged steps, validations and warnings.

    `end` says how the run ended, and is empty while it is being trained.
    """

    steps: list[dict[str, Any]]
    validations: list[dict[str, Any]]
    warnings: list[dict[str, Any]]
    end: dict[str, Any] = field(default_factory=dict)

    @property
    def last_step(self) -> int:
        """The last step of any record, 0 without records."""
        records = *self.steps, *self.validations, *self.warnings, self.end
        return max(int(record.get("step", 0)) for record in records)

    @property
    def last_epoch(self) -> int:
        """The epoch of the last logged step or validation, 0 without records."""
        epochs = (record.get("epoch") for record in (*self.steps[-1:], *self.validations[-1:]))
        return max((epoch for epoch in epochs if isinstance(epoch, int)), default=0)


def read_history(folder: Path) -> History:
    """Read the measurements of a run folder. Missing files count as empty, and damaged lines are left out."""
    kinds: dict[str, list[dict[str, Any]]] = {"step": [], "validation": [], "warning": []}
    lines = list(records(folder / "history.jsonl"))
    for record in lines:
        kinds.get(str(record.get("kind")), []).append(record)
    return History(kinds["step"], kinds["validation"], kinds["warning"], end_of(lines))


def points(records: list[dict[str, Any]], *path: str) -> Points:
    """Return the numbers at a path of keys, such as `("scores", "cider_d")`; the last record of a step counts."""
    values: dict[float, float] = {}
    for record in records:
        value: Any = record
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if _is_number(value):
            values[float(record["step"])] = float(value)
    return sorted(values.items())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST < value < LARGEST


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
    meta, epoch = loaded.meta, history.last_epoch
    step, environment = max(history.last_step, meta.step), meta.environment
    end = history.end
    yield "steps", f"{step:,}" + (f" ({epoch:,} epoch{'s' if epoch != 1 else ''})" if epoch else "")
    yield "checkpoint", loaded.checkpoint
    if isinstance(end.get("ended"), str):
        yield "ended", printable(end["ended"], MAX_NAME)
    if _is_time(end.get("seconds")):
        yield "time", f"{end['seconds']:,.0f} s"
    if shares := _time_shares(end.get("profile")):
        yield "time spent on", shares
    if _is_time(end.get("words_per_second")):
        yield "speed", f"{end['words_per_second']:,.0f} words per second"
    threads = environment.get("threads", end.get("threads"))
    if threads is not None:
        yield "threads", printable(threads, MAX_NAME)
    if versions := describe_versions(end, environment):
        yield "versions", versions
    if blas := environment.get("blas"):
        yield "BLAS", printable(blas, MAX_NAME)


def _time_shares(profile: object) -> str:
    """Write the shares of the parts of training in the time, without those below 1 %."""
    parts = {part: profile.get(part) for part in PARTS} if isinstance(profile, dict) else {}
    spent = {part: float(seconds) for part, seconds in parts.items() if _is_time(seconds)}
    total = sum(spent.values())
    return ", ".join(f"{part} {seconds / total:.0%}" for part, seconds in spent.items() if seconds > 0.01 * total)


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and 0 <= value < 1e9


HEADLINES = ("cider_d", "bleu4", "rouge_l")
"""The scores in the header of the page."""


class Figure(NamedTuple):
    """A number of the header: title, value, and what stands below it."""

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
    """Tabulate the record of an evaluation, and its sources; `name` is that of the run."""
    sources = record.get("sources", {})
    head = ["", f"{name}, mean of {len(sources)} sources" if sources else name]
    head += [f"{name}, {printable(source, MAX_SOURCE)}" for source in sources]
    few = f" Intervals from fewer than {FEW_IMAGES} images are unreliable." if record["images"] < FEW_IMAGES else ""
    title = (
        f"Scores of {record['images']:,} images of {record['split']}, multiplied by 100 (CIDEr-D has no maximum of "
        f"100), with 95 % bootstrap intervals over the images.{few}"
    )
    return Table(title, head, score_rows([record, *sources.values()]))


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
