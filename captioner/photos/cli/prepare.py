"""captioner prepare: build a data set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from captioner.cli import output
from captioner.cli.shared_options import PATH, examples, grouped, list_option, prepare_options
from captioner.config.options import ENCODER, Prepare
from captioner.errors import DataError, UsageError, printable, quoted

if TYPE_CHECKING:
    from captioner.photos.prepare import Event, Prepared


def print_summary(contents: dict[str, Any], name: str, as_json: bool) -> None:
    """Print the summary of the data set `name` as text or JSON."""
    if as_json:
        output.record(contents)
        return
    for line in summary_lines(contents, name):
        output.result(line)
    for pair in contents.get("duplicates", {}).get("examples", ()):
        output.problem(f"warning: near-duplicate across splits: {printable(' = '.join(pair), MAX_NAME)}")


COUNTS = {
    "skipped": "skipped lines",
    "uncorrected": "captions not corrected by a person",
    "removed": "captions removed by a person",
    "omitted": "images omitted: in no list, or in an empty split",
    "missing": "missing photographs",
    "unreadable": "unreadable photographs",
    "truncated": "truncated captions",
}
USED = ("train", "val", "test")
MAX_UNK, MIN_CAPTIONS = 0.05, 30
"""The fraction of <UNK> words above which a hint is printed, unless a split has so few captions that it is chance."""
MAX_NAME, MAX_SOURCE = 200, 40
"""Maximum characters of a name, and of that of a source."""


def summary_lines(summary: dict[str, Any], name: str) -> Iterator[str]:
    """Yield the lines of the summary of the data set `name`."""
    from captioner.data.summary import ROWS

    splits, counts = summary["splits"], summary.get("counts", {})
    yield name
    sources = {source: None for split in splits.values() for source in split.get("sources", ())}
    titles = {source: printable(f"images of {source}", MAX_SOURCE) for source in sources}
    width = max([22, *map(len, titles.values())])
    yield " " * (width + 2) + "".join(f"{split:>12.11}" for split in splits)
    for key, (title, spec) in ROWS.items():
        yield f"  {title:<{width}}" + "".join(f"{split[key]:>12{spec}}" for split in splits.values())
    for source, title in titles.items():
        counted = (split.get("sources", {}).get(source, 0) for split in splits.values())
        yield f"  {title:<{width}}" + "".join(f"{images:>12,d}" for images in counted)
    of = f" of {counts['distinct_words']:,} in train" if counts else ""
    of += f", minimum count {counts['min_count']}" if counts.get("min_count", 1) > 1 else ""
    yield f"  vocabulary: {summary['vocabulary']:,} words{of}"
    if "encoder" in summary:
        encoder = printable(summary["encoder"], MAX_NAME)
        yield f"  features: {summary['feature']:,}-d {summary['dtype']} of encoder {encoder}"
    if "regions" in summary:
        rows, columns, width = summary["regions"]
        yield f"  regions: {rows} x {columns} per image, {width:,}-d"
    for key, title in COUNTS.items():
        if counts.get(key):
            yield f"  {title}: {counts[key]:,}"
    for split in splits if counts else ():
        if split not in USED:
            yield f"  split {quoted(split)} is not used unless selected by name"
    if duplicates := summary.get("duplicates", {}).get("images"):
        yield f"  near-duplicates across splits: {duplicates:,}"
    if any(split["unk"] > MAX_UNK and split["captions"] >= MIN_CAPTIONS for split in splits.values()):
        remedy = "more captions" if counts.get("min_count") == 1 else "a smaller --min-count or more captions"
        yield f"  many words are <UNK>; try {remedy}"


MAX_LINES = 20
"""Maximum issues, and maximum unreadable photographs, that are printed; the summary counts all."""
EMPTY_VAL = (
    "warning: the split val is empty, so training has no validation images; add some with --val, --list or a split "
    "column"
)


@click.command(
    epilog=examples(
        "prepare photos/captions.csv",
        "prepare dataset.json --features features.h5 --encoder everyday --output flickr8k.h5",
        "prepare birds.csv pets.csv --features birds.h5 --features pets.h5 --output both.h5",
    )
)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--output", "file", type=PATH, metavar="FILE",
    help="Write the data set to FILE.  [default: FOLDER.h5, for one SOURCE FOLDER/FILE]",
)  # fmt: skip
@prepare_options
@list_option
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--overwrite", is_flag=True, help="Replace an existing data set.")
@grouped(options=Prepare)
def prepare(
    sources: tuple[str, ...], file: Path | None, lists: tuple[str, ...], as_json: bool, overwrite: bool,
    options: Prepare,
) -> int:  # fmt: skip
    """Build a data set from photographs and captions.

    SOURCE is a table (CSV or TSV with a header, JSON lines, Flickr8k's token.txt), Karpathy's dataset.json or COCO's
    captions_*.json. To assign a whole file to a split, write SPLIT=FILE, such as val=captions.json. The
    output file contains the image features and the captions; training needs no other file. Several SOURCEs
    form one data set with one vocabulary.

    Skipped lines and photographs are reported and counted in the summary. The exit code is 1 if photographs are missing
    or unreadable; the data set then contains only the other photographs.
    """
    from captioner.photos import prepare as preparation
    from captioner.preparation.image_folders import default_output

    if file is None and len(sources) > 1:
        raise UsageError("--output: expected the name of the data set of several SOURCEs, got none")
    file = file or default_output(sources[0])
    prepared = show_preparation(preparation.prepare(sources, file, options, lists=lists, overwrite=overwrite))
    print_summary(prepared.summary, str(prepared.path), as_json)
    if not as_json:
        _suggest_training(prepared)
    counts = prepared.summary["counts"]
    return 1 if counts["missing"] or counts["unreadable"] else 0


def _suggest_training(prepared: Prepared) -> None:
    """Name the command that trains on the data set, after a warning if there is no validation split."""
    from captioner.data.encoder_identity import parse_identity

    recipe = parse_identity(prepared.summary["encoder"])
    is_default = recipe is not None and recipe.name == ENCODER
    config = "photos-attention" if "regions" in prepared.summary else "photos" if is_default else "photos-thousands"
    if config == "photos":
        output.note("the config photos starts from the model that comes with captioner")
    command = ["train", "-c", config, "--data", prepared.path]
    if "val" not in prepared.summary["splits"]:
        output.problem(EMPTY_VAL)
        command += ["-o", "validate.split=train"]
    output.next_command(*command)


def show_preparation(events: Iterator[Event]) -> Prepared:
    """Consume the events of a preparation with a progress bar, then report issues and unreadable photographs."""
    from tqdm import tqdm

    from captioner.photos.encode import EncodingProgress
    from captioner.photos.prepare import Prepared

    bar: tqdm[Any] = tqdm(disable=True)
    issues: list[object] = []
    unreadable: list[object] = []
    try:
        for event in events:
            match event:
                case EncodingProgress():
                    if bar.total is None:
                        bar = output.progress(event.total, "photo", in_log=True)
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
