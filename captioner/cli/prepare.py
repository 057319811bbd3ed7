"""captioner prepare"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from captioner.cli.cards import one_line
from captioner.cli.options import chosen, encoder_options, list_option, prepare_options, strict_option

if TYPE_CHECKING:
    from captioner.run.prepare import Event, Prepared

MOST_LINES = 20
"""Flaws, and lost photographs, that are told one by one; the card has the number of all."""
SCENES = "the encoder scenes is made for the generated pictures; for photographs: --encoder efficientnet-lite0"
LISTED = ", which --json lists"


@click.command(
    epilog="""\b
Examples:
  captioner prepare photos/captions.csv -o birds.h5
  captioner prepare dataset_flickr8k.json --features features.h5 --encoder efficientnet-lite0 -o flickr8k.h5
"""
)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Where to write.")
@prepare_options
@list_option
@encoder_options
@strict_option
@click.option("--json", "as_json", is_flag=True, help="Print the data card as JSON.")
@click.option("--overwrite", is_flag=True, help="Replace a data set that is there already.")
def prepare(
    sources: tuple[str, ...],
    output: Path,
    lists: tuple[str, ...],
    encoder_option: dict[str, str],
    strict: bool,
    as_json: bool,
    overwrite: bool,
    **values: Any,
) -> int:
    """Make a data set of photographs and captions.

    SOURCE is a table (CSV or TSV with a header, JSON lines, Flickr's token.txt), Karpathy's dataset.json or COCO's
    captions_*.json; of several, each may be SPLIT=FILE. The photographs are encoded, and everything that training
    needs is written into one file. Ctrl-C stops, and the same command goes on without encoding twice.

    What is left out is told line by line, and counted in the data card. The exit code is 1 when a photograph was
    missing or could not be read; the others are there.
    """
    from captioner.cli.cards import card_lines
    from captioner.run.folder import to_json
    from captioner.run.prepare import prepare as use_case

    events = use_case(
        sources, output, chosen(values), lists=lists, encoder_options=encoder_option, strict=strict, overwrite=overwrite
    )
    prepared = show(events)
    counts = prepared.card["counts"]
    print(to_json(prepared.card) if as_json else "\n".join(card_lines(prepared.card, click.format_filename(output))))
    if chosen(values).encoder == "scenes":
        click.echo(f"captioner: {SCENES}", err=True)
    if not as_json:
        click.echo(_next(prepared), err=True)
    return 1 if counts["missing"] or counts["unreadable"] else 0


def _next(prepared: Prepared) -> str:
    """The command that trains on a data set, and what is missing where the one without options would refuse it."""
    command = f"next: captioner train --data {shlex.quote(click.format_filename(prepared.path))}"
    if "val" in prepared.card["splits"]:
        return command
    return (
        "captioner: no images in the split val, which tells how training goes; give it some by --val, --list or the "
        f"column of the split\n{command} -o validate.split=train"
    )


def show(events: Iterator[Event]) -> Prepared:
    """Consume the events of a preparation, with a bar that knows the time left; then what was left out, on stderr."""
    from tqdm import tqdm

    from captioner.run.features import Discarded, Encoding
    from captioner.run.find import Unreadable
    from captioner.run.prepare import Prepared

    bar: tqdm[Any] = tqdm(disable=True)
    flaws: list[object] = []
    lost: list[object] = []
    try:
        for event in events:
            match event:
                case Encoding():
                    if bar.total is None:
                        bar = tqdm(total=event.total, unit="photo", disable=None, dynamic_ncols=True, file=sys.stderr)
                    bar.update(event.done - bar.n)
                    if event.done == event.total and event.before:
                        click.echo(f"{event.before:,} of {event.total:,} photographs were encoded before", err=True)
                case Prepared():
                    return event
                case Discarded():
                    click.echo(f"captioner: {one_line(event)}", err=True)
                case Unreadable():
                    lost.append(event)
                case _:
                    flaws.append(event)
    except KeyboardInterrupt:
        click.echo("\ncaptioner: the same command goes on where this one stops", err=True)
        raise
    finally:
        bar.close()
        for told in (flaws, lost):
            for one in told[:MOST_LINES]:
                click.echo(f"captioner: {one_line(one)}", err=True)
            if len(told) > MOST_LINES:
                click.echo(f"captioner: and {len(told) - MOST_LINES:,} more{LISTED if told is lost else ''}", err=True)
    raise AssertionError("a preparation ends with Prepared")
