"""captioner prepare"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from captioner.cli import output
from captioner.cli.options import chosen, encoder_options, list_option, prepare_options, strict_option

if TYPE_CHECKING:
    from captioner.preparation.prepare import Event, Prepared

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
@click.option(
    "-o", "--output", "file", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Where to write."
)
@prepare_options
@list_option
@encoder_options
@strict_option
@click.option("--json", "as_json", is_flag=True, help="Print the data card as JSON.")
@click.option("--overwrite", is_flag=True, help="Replace a data set that is there already.")
def prepare(
    sources: tuple[str, ...],
    file: Path,
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
    from captioner.cli.data_summary import card_lines
    from captioner.preparation.prepare import prepare as use_case

    events = use_case(
        sources, file, chosen(values), lists=lists, encoder_options=encoder_option, strict=strict, overwrite=overwrite
    )
    prepared = show(events)
    counts = prepared.card["counts"]
    if as_json:
        output.record(prepared.card)
    else:
        for line in card_lines(prepared.card, str(file)):
            output.result(line)
    if chosen(values).encoder == "scenes":
        output.problem(SCENES)
    if not as_json:
        output.note(*_next(prepared))
    return 1 if counts["missing"] or counts["unreadable"] else 0


def _next(prepared: Prepared) -> list[str]:
    """The command that trains on a data set, and what is missing where the one without options would refuse it."""
    command = f"next: captioner train --data {shlex.quote(str(prepared.path))}"
    if "val" in prepared.card["splits"]:
        return [command]
    return [
        "captioner: no images in the split val, which tells how training goes; give it some by --val, --list or the "
        "column of the split",
        f"{command} -o validate.split=train",
    ]


def show(events: Iterator[Event]) -> Prepared:
    """Consume the events of a preparation, with a bar that knows the time left; then what was left out, on stderr."""
    from tqdm import tqdm

    from captioner.preparation.encode import Discarded, Encoding
    from captioner.preparation.find_photos import Unreadable
    from captioner.preparation.prepare import Prepared

    bar: tqdm[Any] = tqdm(disable=True)
    flaws: list[object] = []
    lost: list[object] = []
    try:
        for event in events:
            match event:
                case Encoding():
                    if bar.total is None:
                        bar = output.progress(event.total, "photo")
                    bar.update(event.done - bar.n)
                    if event.done == event.total and event.before:
                        output.note(f"{event.before:,} of {event.total:,} photographs were encoded before")
                case Prepared():
                    return event
                case Discarded():
                    output.problem(event)
                case Unreadable():
                    lost.append(event)
                case _:
                    flaws.append(event)
    except KeyboardInterrupt:
        output.note("", "captioner: the same command goes on where this one stops")
        raise
    finally:
        bar.close()
        for told in (flaws, lost):
            for one in told[:MOST_LINES]:
                output.problem(one)
            if len(told) > MOST_LINES:
                output.problem(f"and {len(told) - MOST_LINES:,} more{LISTED if told is lost else ''}")
    raise AssertionError("a preparation ends with Prepared")
