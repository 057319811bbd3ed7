"""captioner data: check and show data sets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from captioner.cli import output
from captioner.cli.shared_options import config_options, examples, grouped, list_option, overriding, prepare_options
from captioner.config.options import Prepare
from captioner.config.overrides import Values
from captioner.errors import printable, quoted

if TYPE_CHECKING:
    from captioner.data.corpus import Corpus


@click.group(epilog=examples("data check photos/captions.csv", "data show birds.h5"))
def data() -> None:
    """Check and show data sets."""


@data.command(epilog=examples("data check photos/captions.csv", "data check birds.h5"))
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@prepare_options
@list_option
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@grouped(options=Prepare)
def check(sources: tuple[str, ...], lists: tuple[str, ...], as_json: bool, options: Prepare) -> int:
    """Check a data set, report all problems, and print a summary.

    SOURCE is a caption file as for `captioner prepare`, or a data set: a prepared file, a folder in the layout of
    CS231n's assignment, or `scenes`, the generated scenes. The exit code is 1 if there are problems.

    Images are not encoded. --encoder, --regions, --dtype and --threads have no effect; they are accepted because
    `captioner prepare` has the same options. If SOURCE is a data set, --json is the only option that applies.
    """
    from captioner.preparation.prepare import check_sources

    issues, contents = check_sources(sources, lists, options)
    for issue in issues:
        output.problem(issue)
    print_summary(contents, " ".join(sources), as_json)
    return 1 if issues else 0


def _source_values(source: str) -> Values:
    from captioner.preparation.load_corpus import source_overrides

    return source_overrides(source)


@data.command(epilog=examples("data show birds.h5 --split val -n 3"))
@click.argument("source", required=False, metavar="[SOURCE]", expose_value=False, callback=overriding(_source_values))
@click.option("--split", default="train", metavar="SPLIT", help="Show images of SPLIT.")
@click.option("-n", "--number", type=click.IntRange(min=1), default=5, metavar="N", help="Show at most N images.")
@click.option("--seed", type=click.IntRange(min=0), metavar="INTEGER", default=0, help="Seed for choosing the images.")
@config_options
def show(split: str, number: int, seed: int, config_file: Path | None, overrides: Values) -> None:
    """Show random images of a data set with their reference captions.

    SOURCE is a prepared file, a folder in the layout of CS231n's assignment, or `scenes`, the generated scenes.
    [default: the data set of the config]
    """
    from captioner.preparation.load_corpus import examples

    for image, references in examples(_open(config_file, overrides), split, number, seed):
        output.result(image)
        for reference in references:
            output.result("", " ".join(reference.split()))


def print_summary(contents: dict[str, Any], name: str, as_json: bool) -> None:
    """Print the summary of the data set `name` as text or JSON."""
    if as_json:
        output.record(contents)
        return
    for line in summary_lines(contents, name):
        output.result(line)
    for pair in contents.get("duplicates", {}).get("examples", ()):
        output.problem(f"warning: near-duplicate across splits: {printable(' = '.join(pair), MAX_NAME)}")


def _open(config_file: Path | None, overrides: Values) -> Corpus:
    from captioner.config.yaml_io import load
    from captioner.preparation.load_corpus import build_corpus

    return build_corpus(load(config_file, overrides))


COUNTS = {
    "skipped": "skipped lines",
    "omitted": "images omitted: in no list, or in an empty split",
    "missing": "missing photographs",
    "unreadable": "unreadable photographs",
    "truncated": "truncated captions",
}
USED = ("train", "val", "test")
MAX_UNK = 0.05
"""The fraction of <UNK> words above which a hint is printed."""
MAX_NAME = 200
"""Maximum characters of a name."""


def summary_lines(summary: dict[str, Any], name: str) -> Iterator[str]:
    """Yield the lines of the summary of the data set `name`."""
    from captioner.data.summary import ROWS
    from captioner.evaluation.score_format import MAX_SOURCE

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
    if any(split["unk"] > MAX_UNK for split in splits.values()):
        remedy = "more captions" if counts.get("min_count") == 1 else "a smaller --min-count or more captions"
        is_limited = counts.get("max_words") == summary["vocabulary"]
        yield f"  many words are <UNK>; try {'a larger --max-words' if is_limited else remedy}"
