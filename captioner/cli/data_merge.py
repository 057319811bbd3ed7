"""captioner data merge: join the shards of a data set, or several data sets."""

from __future__ import annotations

from pathlib import Path

import click

from captioner.cli import output
from captioner.cli.options import PATH
from captioner.errors import printable


@click.command(
    epilog="""\b
Examples:
  captioner data merge part1.h5 part2.h5 part3.h5 --output photos.h5
  captioner data merge shop1.h5 shop2.h5 --output shops.h5
"""
)
@click.argument("files", nargs=-1, required=True, type=PATH, metavar="FILE...")
@click.option("--output", "file", type=PATH, required=True, metavar="FILE", help="Write the data set to FILE.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--overwrite", is_flag=True, help="Replace an existing data set.")
def merge(files: tuple[Path, ...], file: Path, as_json: bool, overwrite: bool) -> None:
    """Merge prepared data sets into one.

    FILE... are all shards of one data set (`captioner prepare --shard`), in any order, or several complete data sets.

    All shards together give the same data set as `captioner prepare` without --shard. Of complete data sets, the images
    keep their splits, the vocabulary is built from all captions, and image names must differ. The encoder, --dtype,
    --regions, --min-count, --max-words and --max-length must be the same. All problems are reported at once.
    """
    from captioner.cli.data_summary import summary_lines
    from captioner.cli.prepare import next_command
    from captioner.preparation.merge import MergeProgress
    from captioner.preparation.merge import merge as use_case

    with output.progress(len(files), "file") as bar:
        for event in use_case(files, file, overwrite=overwrite):
            if isinstance(event, MergeProgress):
                bar.update(event.done - bar.n)
            else:
                merged = event
    summary = merged.summary
    if as_json:
        output.record(summary)
        return
    for line in summary_lines(summary, str(file)):
        output.result(line)
    shared = summary.get("between_files", {"images": 0})
    if shared["images"]:
        pairs = ", ".join(printable(" = ".join(pair), 200) for pair in shared["examples"][:3])
        output.result(f"  photographs that are in two files: {shared['images']:,} ({pairs})")
    if summary.get("unknown_words"):
        output.problem(
            f"warning: {summary['unknown_words']:,} captions keep <UNK>: their caption file had tokens, and a data set "
            "does not store the words that it replaced; to count these words too, prepare the caption files together"
        )
    output.note(*next_command(merged))
