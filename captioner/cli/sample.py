"""captioner sample: write captions for the images of data sets and of feature files."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from mimetypes import guess_type
from pathlib import Path
from typing import TYPE_CHECKING

import click

from captioner.captioning.find_checkpoint import is_run
from captioner.cli import output
from captioner.cli.caption_lines import Tally, print_caption
from captioner.cli.shared_options import (
    PATH,
    caption_options,
    data_option,
    ensemble_option,
    example_override_option,
    examples,
    grouped,
    runs_argument,
)
from captioner.config.overrides import Values
from captioner.errors import CaptionerError, DataError, ProblemsError, UsageError

if TYPE_CHECKING:
    from captioner.captioning.caption import Caption
    from captioner.captioning.output_files import CaptionFile


@dataclass(frozen=True)
class Source:
    """The options that choose images, and how many."""

    data: Path | None
    split: str | None
    features: Path | None
    number: int | None


@dataclass(frozen=True)
class Files:
    """The options of what is written: JSON on stdout, and files."""

    as_json: bool
    outputs: tuple[Path, ...]
    overwrite: bool


@click.command(
    epilog=examples(
        "sample runs/scenes --split val -n 10",
        "sample runs/scenes/last.h5 --features new.h5 --json",
        "sample runs/scenes-attention -n 10 --attention --write maps.jsonl",
        "sample --ensemble runs/birds runs/birds-2 -o decode.beam_width=5 -o decode.length_penalty=0.7",
        "sample runs/birds --n-best 3 -o decode.method=sampling -o decode.top_p=0.9",
        "sample runs/birds --split train --n-best 5 --write teacher.jsonl",
    )
)
@runs_argument
@ensemble_option
@data_option("Caption a split of the data set FILE instead of the run's")
@click.option("--split", metavar="SPLIT", help="Caption the images of SPLIT.  [default: val]")
@click.option(
    "--features", type=PATH, metavar="FILE",
    help="Write captions for precomputed image features, one for each row of the array `features` in the HDF5 file "
    "FILE, with the array `regions` for attention.",
)  # fmt: skip
@click.option(
    "-n", "--number", type=click.IntRange(min=1), metavar="N", help="Caption at most N images.  [default: all]"
)
@caption_options("n_best", "attention")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per image.")
@click.option(
    "--write", "outputs", multiple=True, type=PATH, metavar="FILE",
    help="Also write the captions to FILE; may be repeated. FILE.csv is a table for spreadsheets: image, first "
    "caption, keywords, marks, log-probability, familiarity and similarity. FILE.jsonl has the records of --json.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace existing files of --write.")
@example_override_option("decode.beam_width=5")
@grouped(source=Source, files=Files)
def sample(runs: tuple[Path, ...], ensemble: bool, source: Source, files: Files, overrides: Values) -> None:
    """Write captions for the images of a data set.

    RUN_OR_MODEL is a run folder, whose best checkpoint is used, or a model file. With --ensemble, the word
    probabilities of several runs are averaged, and the options of the first are used. All models of an ensemble must
    have the same vocabulary and encoder. `captioner caption` captions photographs.

    The first line for each image contains its name, the caption, for generated scenes whether the caption is fully
    correct, and its marks: `outside the training domain` if its familiarity is below decode.unfamiliar_below, and
    `uncertain` if its expected similarity to references is below decode.uncertain_below. Tabs separate them. Further
    candidates with their ranks, and the references, follow on lines that start with a tab. Log-probabilities are in
    --json and --write.

    --n-best and --attention set the options caption.* of the config. The attention weights need a model with attention,
    and are written to the records of --json and FILE.jsonl.
    """
    _check_runs(runs, ensemble)
    _check_usage(source, files, overrides)
    from captioner.captioning.captioner import Captioner
    from captioner.captioning.load import check_attention, check_reads_data, open_corpus, open_runs, shares_of_split
    from captioner.captioning.output_files import FILES, CaptionFile

    loaded = open_runs(runs, overrides)
    if loaded.config.caption.attention:
        check_attention(loaded)
    if source.features or source.data:
        check_reads_data(loaded, source.data)
    captioner = Captioner(loaded)
    sinks = [CaptionFile(path, FILES[path.suffix.lower()], files.overwrite) for path in files.outputs]

    captions: Iterator[Caption]
    if source.features is not None:
        captions = captioner.caption_features(source.features, source.number)
    else:
        corpus, split = open_corpus(loaded, source.data), "val" if source.split is None else source.split
        shares = shares_of_split(loaded, corpus, split)
        captions = captioner.caption_split(corpus.split(split), source.number, corpus.vocab, shares)
    output.warnings(captioner.warnings)
    if problems := _write(captions, files.as_json, sinks):
        raise ProblemsError(problems)
    if output.is_terminal() and not (source.features or files.as_json or ensemble or source.data):
        output.next_command("evaluate", runs[0])


def _check_runs(runs: Sequence[Path], ensemble: bool) -> None:
    """Raises: UsageError for photographs, with the command that captions them, or several runs without --ensemble."""
    if photos := [path for path in runs if not is_run(path) and _has_photos(path)]:
        models = [word for path in runs if is_run(path) for word in ("--model", str(path))]
        models += ["--ensemble"] if ensemble and len(models) > 2 else []
        words = shlex.join(["captioner", "caption", *map(str, photos), *models])
        raise UsageError(f"{photos[0]}: expected a run or a model file; for photographs, use {words}")
    if len(runs) > 1 and not ensemble:
        raise UsageError(f"got {len(runs)} runs; use one, or average their word probabilities with --ensemble")
    if len(runs) == 1 and ensemble:
        raise UsageError("--ensemble needs several runs")


def _has_photos(path: Path) -> bool:
    """Return whether a path is called like a photograph, or is a folder with one."""
    files = next(os.walk(path))[2] if os.path.isdir(path) else [str(path)]
    return any((guess_type(file, strict=False)[0] or "").startswith("image/") for file in files)


def _check_usage(source: Source, files: Files, overrides: Values) -> None:
    """Raises: UsageError for options that exclude or need each other, and for a file of no kind of output."""
    from captioner.captioning.output_files import FILES

    suffixes = [path.suffix.lower() for path in files.outputs]
    for wrong, message in (
        ((source.split is not None or source.data is not None) and source.features is not None,
         "--split (with or without --data) and --features exclude each other; use one of them"),
        (files.overwrite and not files.outputs, "--overwrite needs --write"),
        (overrides.get("caption.attention") and not files.as_json and ".jsonl" not in suffixes,
         "--attention needs --json or --write FILE.jsonl"),
        (len(set(map(os.path.realpath, files.outputs))) < len(suffixes), "--write: name each output once"),
    ):  # fmt: skip
        if wrong:
            raise UsageError(message)
    for path, suffix in zip(files.outputs, suffixes, strict=True):
        if suffix not in FILES:
            raise UsageError(f"--write {path}: expected a name that ends in {' or '.join(FILES)}")


def _write(captions: Iterable[Caption], as_json: bool, sinks: Sequence[CaptionFile]) -> list[str]:
    """Print captions, and write them to the sinks. Return what could not be written.

    If captions are also written to files, all are, even if the reader of stdout closes the pipe, or printing fails.

    Raises: DataError if there are sinks, but no captions.
    """
    tally, problems = Tally(), list[CaptionerError]()
    for caption in captions:
        tally.add(caption)
        for sink in sinks:
            sink.write(caption)
        with output.ignoring_a_closed_pipe(problems.append) if sinks else nullcontext():
            print_caption(caption, as_json)
    tally.report()
    if sinks and not tally.captioned:
        raise DataError("no image was captioned; no file was written")
    for sink in sinks:
        try:
            output.note(sink.finish())
        except CaptionerError as error:
            problems.append(error)
    return [*map(str, problems)]
