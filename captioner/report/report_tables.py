"""The tables of a report: scores with 95 % intervals, the data set, and the words that a model writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from captioner.data.corpus import Corpus, Split
from captioner.data.summary import ROWS, summarize_split
from captioner.data.tokenizer import tokenize
from captioner.data.vocabulary import SPECIAL, Vocab
from captioner.errors import printable
from captioner.evaluation.scoring import FEW_IMAGES
from captioner.evaluation.titles import SCORES, STATISTICS, format_interval, format_score, statistic_rows
from captioner.report.history import History

HEADLINES = ("cider_d", "bleu4", "rouge_l")
"""The scores in the header of the page, where there is one run."""
MINUS = "\N{MINUS SIGN}"


class Figure(NamedTuple):
    """A number of the header: title, value, and what stands below it."""

    title: str
    value: str
    interval: str = ""


class ScoreTable(NamedTuple):
    """Scores and statistics of the captions of a split: a row per score, a column per run."""

    note: str
    head: list[str]
    rows: list[list[str]]
    statistics: list[list[str]]


def figures_of_scores(record: Mapping[str, Any]) -> list[Figure]:
    """Return the most important scores of a run."""
    figures = [Figure(SCORES[key], score(record[key]), interval(record["intervals"][key])) for key in HEADLINES]
    for key, title in (("perplexity", "Perplexity"), ("true", "True captions")):
        if record.get(key) is not None:
            figures.append(Figure(title, f"{record[key]:{STATISTICS[key][1]}}"))
    return figures


def figures_of_history(history: History) -> list[Figure]:
    """Return the last validation of a run that is being trained."""
    if not history.validations:
        return []
    last = history.validations[-1]
    figures = []
    if _is(last, "loss"):
        figures.append(Figure("Validation loss", f"{last['loss']:.3f}", _epoch(last)))
    if _is(last, "perplexity"):
        figures.append(Figure("Perplexity", f"{last['perplexity']:.2f}"))
    scored = [record for record in history.validations if isinstance(record.get("scores"), dict) and record["scores"]]
    for key in HEADLINES if scored else ():
        if _is(scored[-1]["scores"], key):
            figures.append(Figure(SCORES[key], score(scored[-1]["scores"][key]), _epoch(scored[-1])))
    return figures


def _is(record: Mapping[str, Any], key: str) -> bool:
    return isinstance(record.get(key), float)


def _epoch(record: Mapping[str, Any]) -> str:
    return f"epoch {record['epoch']:,}" if isinstance(record.get("epoch"), int) else ""


def score_table(record: Mapping[str, Any], names: Sequence[str]) -> ScoreTable:
    """Tabulate the record of an evaluation; `names` are those of the runs."""
    columns = [record, *record["others"].values()]
    rows = [
        [title, *(f"{score(column[key])}  ({interval(column['intervals'][key])})" for column in columns)]
        for key, title in SCORES.items()
    ]
    statistics = [[title, *cells] for title, cells in statistic_rows(columns).values()]
    few = f" Intervals from fewer than {FEW_IMAGES} images are unreliable." if record["images"] < FEW_IMAGES else ""
    note = (
        f"Scores of {record['images']:,} images of {record['split']}, multiplied by 100 (CIDEr-D has no maximum of "
        f"100), with 95 % bootstrap intervals over the images.{few}"
    )
    return ScoreTable(note, ["", *names], rows, statistics)


def score(value: float, sign: str = "") -> str:
    """Write a score times 100; with the sign `+`, a difference."""
    return format_score(value, sign).replace("-", MINUS)


def interval(bounds: Sequence[float], sign: str = "") -> str:
    """Write an interval of a score."""
    return format_interval(bounds, sign).replace("-", MINUS)


MAX_NAME = 80


class DataTable(NamedTuple):
    """The splits of a data set: a title, the head, and a row per split."""

    title: str
    head: list[str]
    rows: list[list[str]]


def data_table(corpus: Corpus, name: str) -> DataTable:
    """Tabulate the splits of a data set; `name` is its kind."""
    rows = []
    for split, one in corpus.splits.items():
        facts = summarize_split(one, corpus.vocab)
        rows.append([printable(split, MAX_NAME), *(format(facts[key], spec) for key, (_, spec) in ROWS.items())])
    encoder = printable(corpus.encoder, MAX_NAME)
    title = f"Data set: {name}; image features of {encoder} ({corpus.feature_dim:,} dimensions)"
    return DataTable(title, ["split", *(title for title, _ in ROWS.values())], rows)


MAX_WORDS, MAX_CAPTIONS = 25, 10
MAX_TEXT = 80


@dataclass(frozen=True)
class WordUse:
    """The words of the captions of a run: a summary, and tables of words and captions.

    `rows` are words with the share of captions and of references that contain them; `never` are words of the vocabulary
    that the run does not use, with their number in the references.
    """

    run: str
    number: int
    summary: str
    rows: list[WordShare]
    never: list[list[str]]
    repeated: list[list[str]]


@dataclass(frozen=True)
class WordShare:
    """A word, and the shares of the captions and of the references that contain it."""

    word: str
    captions: float
    references: float


def word_use(
    run: str, number: int, captions: Sequence[str], scores: dict[str, Any], split: Split, vocab: Vocab
) -> WordUse:
    """Count the words of one caption per image; `vocab` is that of the split and of the model."""
    tokens = [set(tokenize(caption)) for caption in captions]
    used = Counter(word for words in tokens for word in words)
    per_caption = _references_with(split, vocab)
    total = max(len(split.captions), 1)
    rows = [
        WordShare(printable(word, MAX_TEXT), count / max(len(captions), 1), per_caption.get(word, 0) / total)
        for word, count in used.most_common(MAX_WORDS)
    ]
    known = [word for word in vocab.words if word not in SPECIAL]
    unused = sorted((word for word in known if word not in used), key=lambda word: -per_caption.get(word, 0))
    repeated = [(caption, count) for caption, count in Counter(captions).most_common(MAX_CAPTIONS) if count > 1]
    missing = [word for word in unused if per_caption.get(word, 0)]
    summary = (
        f"{len(known) - len(unused):,} of {len(known):,} words of the vocabulary are used, {len(missing):,} words of "
        f"the references are not. {scores['unk']:.1%} of the words are <UNK>, and {scores['distinct']:,} of "
        f"{len(captions):,} captions are distinct."
    )
    return WordUse(
        run,
        number,
        summary,
        rows,
        [[printable(word, MAX_TEXT), f"{per_caption[word]:,}"] for word in missing[:MAX_WORDS]],
        [[printable(caption or "(no words)", MAX_TEXT), f"{count:,}"] for caption, count in repeated],
    )


def _references_with(split: Split, vocab: Vocab) -> dict[str, int]:
    """Count the references that contain each word of the vocabulary."""
    ids = np.sort(split.captions, axis=1)
    first = np.ones(ids.shape, bool)
    first[:, 1:] = ids[:, 1:] != ids[:, :-1]
    counts = np.bincount(ids[first], minlength=len(vocab)).tolist()
    return {word: count for word, count in zip(vocab.words, counts, strict=True) if word not in SPECIAL}
