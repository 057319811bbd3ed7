"""captioner prepare: build a data set from photographs and captions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from captioner.cli import output
from captioner.cli.shared_options import PATH, examples, grouped, list_option, prepare_options
from captioner.config.options import Prepare
from captioner.errors import DataError

if TYPE_CHECKING:
    from captioner.preparation.prepare import Event, Prepared

MAX_LINES = 20
"""Maximum issues, and maximum unreadable photographs, that are printed; the summary counts all."""
THOUSANDS = 800
"""Training images from which the config photos-thousands is suggested (docs/baseline.md)."""
SCENES = "warning: encoder scenes is for generated scenes; for photographs, try --encoder efficientnet-lite0"
EMPTY_VAL = (
    "warning: the split val is empty, so training has no validation images; add some with --val, --list or a split "
    "column"
)


@click.command(
    epilog=examples(
        "prepare photos/captions.csv --output birds.h5",
        "prepare dataset.json --features features.h5 --encoder efficientnet-lite0 --output flickr8k.h5",
        "prepare birds.csv pets.csv --features birds.h5 --features pets.h5 --output both.h5",
    )
)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--output", "file", type=PATH, required=True, metavar="FILE", help="Write the data set to FILE.")
@prepare_options
@list_option
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--overwrite", is_flag=True, help="Replace an existing data set.")
@grouped(options=Prepare)
def prepare(
    sources: tuple[str, ...], file: Path, lists: tuple[str, ...], as_json: bool, overwrite: bool, options: Prepare,
) -> int:  # fmt: skip
    """Build a data set from photographs and captions.

    SOURCE is a table (CSV or TSV with a header, JSON lines, Flickr8k's token.txt), Karpathy's dataset.json or COCO's
    captions_*.json. To assign a whole file to a split, write SPLIT=FILE, such as val=captions.json. The
    output file contains the image features and the captions; training needs no other file. Several SOURCEs
    form one data set with one vocabulary.

    Skipped lines and photographs are reported and counted in the summary. The exit code is 1 if photographs are missing
    or unreadable; the data set then contains only the other photographs.
    """
    from captioner.cli.data import print_summary
    from captioner.preparation import prepare as preparation

    prepared = show_preparation(preparation.prepare(sources, file, options, lists=lists, overwrite=overwrite))
    print_summary(prepared.summary, str(prepared.path), as_json)
    if options.encoder == "scenes":
        output.problem(SCENES)
    if not as_json:
        _suggest_training(prepared)
    counts = prepared.summary["counts"]
    return 1 if counts["missing"] or counts["unreadable"] else 0


def _suggest_training(prepared: Prepared) -> None:
    """Name the command that trains on the data set, after a warning if there is no validation split."""
    small = prepared.summary["splits"]["train"]["images"] < THOUSANDS
    config = "photos-attention" if "regions" in prepared.summary else "photos" if small else "photos-thousands"
    command = ["train", "-c", config, "--data", prepared.path]
    if "val" not in prepared.summary["splits"]:
        output.problem(EMPTY_VAL)
        command += ["-o", "validate.split=train"]
    output.next_command(*command)


def show_preparation(events: Iterator[Event]) -> Prepared:
    """Consume the events of a preparation with a progress bar, then report issues and unreadable photographs."""
    from tqdm import tqdm

    from captioner.preparation.encode import EncodingProgress
    from captioner.preparation.prepare import Prepared

    bar: tqdm[Any] = tqdm(disable=True)
    issues: list[object] = []
    unreadable: list[object] = []
    try:
        for event in events:
            match event:
                case EncodingProgress():
                    if bar.total is None:
                        bar = output.progress(event.total, "photo")
                    bar.update(event.done - bar.n)
                case Prepared():
                    return event
                case DataError():
                    unreadable.append(event)
                case _:
                    issues.append(event)
    finally:
        bar.close()
        for problems, hint in ((issues, ""), (unreadable, " (--json lists all)")):
            for problem in problems[:MAX_LINES]:
                output.problem(problem)
            if len(problems) > MAX_LINES:
                output.problem(f"and {len(problems) - MAX_LINES:,} more{hint}")
    raise AssertionError("the last event of a preparation is Prepared")
