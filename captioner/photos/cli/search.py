"""captioner search: find the photographs of tables by words."""

from __future__ import annotations

from itertools import chain, takewhile
from pathlib import Path

import click

from captioner.cli import output
from captioner.cli.shared_options import PATH, examples
from captioner.errors import CaptionerError, UsageError

SUFFIX = ".jsonl"


@click.command(
    epilog=examples("search captions.jsonl dog on the beach", "search 2025.jsonl 2026.jsonl 'red car' -n 5 --json")
)
@click.argument("table", type=PATH, metavar="TABLE")
@click.argument("words", nargs=-1, required=True, metavar="WORD...")
@click.option(
    "-n", "--number", type=click.IntRange(min=1), default=20, metavar="N", help="Print at most N photographs."
)
@click.option(
    "--model", type=PATH, metavar="FILE_OR_RUN", help="Use the vocabulary and IDF of another than the default model."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per photograph.")
def search(table: Path, words: tuple[str, ...], number: int, model: Path | None, as_json: bool) -> None:
    """Find captioned photographs by words.

    TABLE is a file FILE.jsonl of `captioner caption --write`; more of them can follow. WORD... is the query.

    Photographs are ranked by the expected shares of the words, so that what a caption does not mention is found too.
    Rare words have more weight. The words of a caption that a person corrected are certain.

    Each line contains the path of a photograph, its caption, and the words of the query that fit it, best first,
    separated by tabs. Photographs that no word fits are not printed. If none fits, the exit code is 1. Words that the
    model does not know are reported. They are found only in corrected captions, and in tables of models that know them.
    """
    from captioner.captioning.checks import without_summary
    from captioner.captioning.find_checkpoint import DEFAULT_MODEL
    from captioner.captioning.load import open_run
    from captioner.photos.search import EXPECTED, best_matches, read_matches, read_query

    tables = [table, *map(Path, takewhile(lambda word: word.endswith(SUFFIX), words))]
    if table.suffix != SUFFIX:
        raise UsageError(f"{table}: expected tables that end in {SUFFIX} before the words: {EXPECTED}")
    loaded = open_run(model or DEFAULT_MODEL)
    output.warnings(loaded.warnings)
    if loaded.summary is None:
        raise UsageError(without_summary(loaded))
    query = read_query(" ".join(words[len(tables) - 1 :]), loaded.summary.regression)
    hints = ((word, f" (did you mean {others[0]}?)" if others else "") for word, others in query.unknown.items())
    unknown = ", ".join(map("".join, hints))
    if not query.idf:
        raise UsageError("expected words after the tables, got none")
    if unknown:
        other = "" if model else "; for words of a model of yours, add --model"
        found = "found only in captions that you have corrected, and in tables of models that know them"
        output.problem(f"unknown to the model, and {found}: {unknown}{other}")

    matches = best_matches(chain.from_iterable(read_matches(path, query) for path in tables), number)
    for match in matches:
        if as_json:
            output.record({**match._asdict(), "words": [word._asdict() for word in match.words]})
        else:
            output.result(match.image, match.caption, ", ".join(word.word for word in match.words))
    if not matches:
        raise CaptionerError(f"no photograph fits: {', '.join(query.deciding)}")
