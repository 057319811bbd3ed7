"""captioner data: check, card and show"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from captioner.cli import output
from captioner.cli.options import chosen, config_options, list_option, prepare_options

if TYPE_CHECKING:
    from captioner.data.corpus import Corpus

SOURCE = click.argument("source", required=False, metavar="SOURCE")
JSON = click.option("--json", "as_json", is_flag=True, help="Print the card as JSON.")


@click.group(
    epilog="""\b
Examples:
  captioner data check photos/captions.csv
  captioner data show birds.h5
"""
)
def data() -> None:
    """Look at a data set without training on it."""


@data.command(
    epilog="""\b
Examples:
  captioner data check photos/captions.csv
  captioner data check birds.h5
"""
)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@prepare_options
@list_option
@JSON
def check(sources: tuple[str, ...], lists: tuple[str, ...], as_json: bool, **values: Any) -> int:
    """Read all of a data set, and say what is wrong in it.

    SOURCE is what `captioner prepare` takes (every flaw and missing photograph is told, nothing is encoded), or a data
    set: a prepared file, a folder as in CS231n's assignment, or the word scenes. The exit code is 1 when something is
    wrong.
    """
    from captioner.preparation import inspect_data as use_case

    flaws, card = use_case.check(sources, lists, chosen(values))
    for flaw in flaws:
        output.problem(flaw)
    _print_card(card, " ".join(sources), as_json)
    return 1 if flaws else 0


@data.command(
    epilog="""\b
Examples:
  captioner data card birds.h5
  captioner data card scenes --json
"""
)
@SOURCE
@config_options
@JSON
def card(source: str | None, config_file: Path | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print what is in a data set: sizes, lengths, words, duplicates.

    SOURCE is a prepared file, a folder as in CS231n's assignment, or the word scenes; without it, the data set of the
    config.
    """
    from captioner.preparation import inspect_data as use_case

    told = use_case.card_of_corpus(_open(source, config_file, overrides))
    _print_card(told, source or "the config's data set", as_json)


@data.command(
    epilog="""\b
Examples:
  captioner data show birds.h5 --split val -n 3
  captioner data show scenes --html scenes.html
"""
)
@SOURCE
@click.option("--split", default="train", show_default=True, metavar="SPLIT", help="The split to show.")
@click.option("-n", "--number", type=click.IntRange(min=1), default=5, show_default=True, help="How many images.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Which images.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page of pictures and captions.")
@click.option(
    "--images", type=click.Path(path_type=Path), metavar="FOLDER",
    help="Folder of the photographs for the page; only files below it are shown.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace a page that is there already.")
@config_options
def show(
    source: str | None, split: str, number: int, seed: int, html: Path | None, images: Path | None, overwrite: bool,
    config_file: Path | None, overrides: tuple[str, ...],
) -> None:  # fmt: skip
    """Show random images of a data set with their captions.

    SOURCE is a prepared file, a folder as in CS231n's assignment, or the word scenes; without it, the data set of the
    config.
    """
    from captioner.preparation import inspect_data as use_case

    corpus = _open(source, config_file, overrides)
    examples = use_case.examples(corpus, split, number, seed)
    if html is not None:
        missing = use_case.write_page(html, corpus, split, examples, images, overwrite)
        if missing:
            output.problem(f"{missing:,} of {len(examples):,} photographs not found; {_where(corpus, images)}")
        output.note(f"{html}: written")
        return
    for example in examples:
        output.result(example.image)
        for reference in example.references:
            output.result("", " ".join(reference.split()))


def _where(corpus: Corpus, images: Path | None) -> str:
    """What to try for photographs that are not on a page."""
    told = corpus.about.get("images")
    prepared_in = f", as in --images {shlex.quote(told)}" if images is None and isinstance(told, str) else ""
    return f"name their folder with --images{prepared_in}"


def _print_card(card: dict[str, Any], name: str, as_json: bool) -> None:
    from captioner.cli.data_summary import card_lines

    if as_json:
        output.record(card)
        return
    for line in card_lines(card, name):
        output.result(line)


def _open(source: str | None, config_file: Path | None, overrides: tuple[str, ...]) -> Corpus:
    from captioner.config import yaml_io as configio
    from captioner.preparation import inspect_data as use_case
    from captioner.preparation.load_corpus import build_corpus

    return build_corpus(configio.load(config_file, [*([] if source is None else use_case.guess(source)), *overrides]))
