"""captioner caption: write captions for photographs, and resume where the last run stopped."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from captioner.captioning.find_checkpoint import DEFAULT_MODEL, is_run
from captioner.cli import output
from captioner.cli.caption_lines import Tally, print_caption
from captioner.cli.processes import exit_code_of, stop_signals
from captioner.cli.shared_options import (
    PATH,
    caption_options,
    ensemble_option,
    example_override_option,
    examples,
    grouped,
    recipe_option,
)
from captioner.config.overrides import Values, differences
from captioner.errors import LONGEST, CaptionerError, DataError, UsageError

if TYPE_CHECKING:
    from captioner.decode.word_regression import WordRegression
    from captioner.photos.album import Album
    from captioner.photos.captioner import PhotoCaptioner

MAX_NAMED = 10
"""Unreadable photographs that are named at the end."""
PAGES, EXIFTOOL = (".html", ".htm"), "exiftool.csv"
"""The files of --write that are written from a table at the end: pages, and a table that exiftool reads."""
COUNTS = {
    "known": "already captioned",
    "corrected": "of these corrected by you",
    "kept": "of these changed since, correction kept",
    "changed": "changed and captioned again",
    "replaced": "of your corrections replaced",
}
"""The summary of an album by the names of its counts."""


@dataclass(frozen=True)
class Files:
    """The options of what is written: lines on stdout, and files."""

    as_json: bool
    verbose: bool
    outputs: tuple[Path, ...]
    overwrite: bool

    @property
    def derived(self) -> list[Path]:
        """The files that are written from a table at the end."""
        return [path for path in self.outputs if path.suffix.lower() in PAGES or path.name == EXIFTOOL]

    @property
    def tables(self) -> list[Path]:
        """The tables that grow."""
        return [path for path in self.outputs if path.suffix and path not in self.derived]

    @property
    def implied(self) -> list[Path]:
        """The JSON lines beside the first page, if none are named, or beside the table for exiftool without tables."""
        needing = [path for path in self.derived if path.suffix.lower() in PAGES or not self.tables]
        has_lines = any(path.suffix.lower() == ".jsonl" for path in self.outputs)
        return [] if has_lines else [path.with_suffix(".jsonl") for path in needing[:1]]


@dataclass(frozen=True)
class Chosen:
    """The options that choose photographs: at most how many, and of which part."""

    number: int | None
    part: tuple[int, int] | None


def _part(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    number, slash, parts = value.partition("/")
    if not (slash and number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise click.BadParameter(f"expected I/N with I from 1 to N, such as 2/8, got {value}")
    return int(number), int(parts)


@click.command(
    epilog=examples(
        "caption photo.jpg holiday/",
        "caption holiday/ --write captions.csv",
        "caption holiday/ --write album.html --write xmp",
        "caption photo.jpg --n-best 3",
        "caption holiday/ --model runs/birds --write birds.jsonl",
        "caption holiday/ --part 2/8 --write part-2.jsonl",
    )
)
@click.argument("names", nargs=-1, required=True, type=PATH, metavar="PHOTO_OR_FOLDER...")
@click.option(
    "--model", "models", multiple=True, type=PATH, metavar="FILE_OR_RUN",
    help="Model file, or run folder, whose best checkpoint is used; several with --ensemble.  [default: the "
    "packaged model everyday.h5]",
)  # fmt: skip
@ensemble_option
@click.option("-n", "--number", type=click.IntRange(min=1), metavar="N", help="Caption at most N photographs.")
@click.option(
    "--part", metavar="I/N", callback=_part,
    help="Caption part I of N, for several processes or machines: the photographs whose checksum of the path relative "
    "to the folder is I - 1 modulo N. Each part needs its own table.",
)  # fmt: skip
@caption_options("n_best", "attention")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per photograph.")
@click.option("-v", "--verbose", is_flag=True, help="With --write, also print a line per photograph.")
@click.option(
    "--write", "outputs", multiple=True, type=PATH, metavar="FILE",
    help="Write the captions to FILE instead; may be repeated. FILE.csv (for spreadsheets) and FILE.jsonl are tables "
    "that grow: the same command again captions what is new or changed, and keeps captions that you have corrected. "
    "FILE.html is a page with the photographs and a search, from the table FILE.jsonl beside it; exiftool.csv is read "
    "by exiftool. With xmp (photo.jpg.xmp, for darktable and digiKam) or lightroom (photo.xmp, also for Capture One), "
    "files are written beside the photographs; those of other programs are never changed.",
)  # fmt: skip
@click.option(
    "--overwrite", is_flag=True, help="Caption photographs again, also those whose captions you have corrected."
)
@recipe_option
@example_override_option("decode.beam_width=5")
@grouped(chosen=Chosen, files=Files)
def caption(
    names: tuple[Path, ...], models: tuple[Path, ...], ensemble: bool, encoder: str | None, chosen: Chosen,
    files: Files, overrides: Values,
) -> int:  # fmt: skip
    """Write captions and keywords for photographs.

    PHOTO_OR_FOLDER is a photograph, or a folder, whose subfolders belong to it. The line of a photograph contains its
    name, its caption and its marks: `outside the training domain` if its familiarity is below decode.unfamiliar_below,
    and `uncertain` if the expected similarity of the caption is below decode.uncertain_below. Tabs separate them.
    Further candidates with their ranks follow on lines that start with a tab. Unreadable photographs are reported,
    skipped and counted, and the exit code is 1. Ctrl-C stops after the photographs that are being read.

    --n-best and --attention set the options caption.* of the config. Attention weights need a model with attention.
    With --ensemble, the word probabilities of several models are averaged, and the options of the first are used.
    """
    models = models or (DEFAULT_MODEL,)
    _check_usage(names, models, ensemble, files, overrides)
    from captioner.captioning.checks import check_attention, photo_warnings
    from captioner.captioning.load import open_runs
    from captioner.photos.captioner import PhotoCaptioner
    from captioner.photos.photographs import photo_paths

    loaded = open_runs(models, overrides)
    if loaded.config.caption.attention:
        check_attention(loaded)
    captioner = PhotoCaptioner(loaded, encoder)
    with closing(_open_album(captioner, models, encoder, files)) as album:
        paths, progress = photo_paths(names, chosen.part), Progress()
        photos = album.select(paths, chosen.number)
        output.warnings((*captioner.warnings, *(photo_warnings(loaded) if photos else ())))
        while photos:
            _caption(captioner, album, photos, files, progress)
            missing = (chosen.number or 0) - progress.captioned  # those that could not be read do not count
            is_over = missing <= 0 or progress.stopped_by or album.is_lost
            photos = [] if is_over else album.select(paths, missing)
        for error in (*album.problems, *album.finish()):
            progress.fail(error)
        _report(progress, album, files)
        for path in files.derived:
            try:
                write = _writer(path, loaded.summary and loaded.summary.regression)
                output.note(write(path, album.records()))
            except CaptionerError as error:
                progress.fail(error)
    if progress.stopped_by and progress.left:
        again = f"captioner {shlex.join(sys.argv[1:])}"
        if len(again) > LONGEST:  # of many photographs: a line would have an incomplete command
            again = "the same command"
        resume = f"resume with: {again}" if files.outputs else "with --write captions.csv, it could be resumed"
        output.note(f"stopped; photographs left: {progress.left:,}; {resume}")
        return exit_code_of(progress.stopped_by)
    return progress.code


@dataclass
class Progress(Tally):
    """What has happened to the photographs of a command."""

    unreadable: list[str] = field(default_factory=list)
    left: int = 0
    code: int = 0
    stopped_by: int = 0
    """The signal that stopped the command, or 0."""

    def fail(self, error: CaptionerError) -> None:
        """Report an error after which the command continues."""
        output.problem(error)
        self.code = 1


def _caption(
    captioner: PhotoCaptioner, album: Album, photos: Sequence[Path | DataError], files: Files, progress: Progress
) -> None:
    """Caption photographs until a signal, and write and print the captions.

    If captions are also written to files, all are, even if the reader of stdout closes the pipe, or printing fails.
    """
    from tqdm import tqdm

    progress.left = len(photos)
    is_shown = files.as_json or files.verbose or not files.outputs
    bar = tqdm(disable=True) if is_shown else output.progress(len(photos), "photograph", in_log=True)
    with bar, stop_signals() as caught:
        # one caption or error for each photograph that is read, in order
        captions = captioner.captions(captioner.photographs(_until(photos, caught)))
        for photo, caption in zip(photos, captions, strict=False):
            bar.update()
            progress.left -= 1
            with output.above_progress():
                if isinstance(caption, DataError):
                    progress.fail(caption)
                    progress.unreadable.append(str(photo).partition(": ")[0])
                    continue
                assert isinstance(photo, Path)
                for error in album.write(photo, caption):
                    progress.fail(error)
                if not album.is_lost:
                    progress.add(caption)
            if is_shown:
                with output.ignoring_a_closed_pipe(progress.fail) if files.outputs else nullcontext():
                    print_caption(caption, files.as_json)
            if album.is_lost:
                break
    progress.stopped_by = caught[0] if caught else 0


def _until(photos: Iterable[Path | DataError], caught: Sequence[int]) -> Iterator[Path | DataError]:
    """Yield photographs until a signal is caught; those that are being read then are captioned."""
    for photo in photos:
        if caught:
            with output.above_progress():
                output.note("stopping after the photographs that are being read")
            return
        yield photo


def _report(progress: Progress, album: Album, files: Files) -> None:
    """Print what the marks mean and, with --write, what was captioned, what was known, and where it is."""
    progress.report()
    counts, unreadable = album.counts, progress.unreadable
    if not files.outputs:
        if unreadable and progress.captioned:
            output.problem(f"captioned: {progress.captioned:,}; unreadable, reported above: {len(unreadable):,}")
        return
    parts = [f"captioned: {progress.captioned:,}"]
    parts += [f"{name}: {counts[key]:,}" for key, name in COUNTS.items() if counts[key]]
    if unreadable:
        more = [f"and {len(unreadable) - MAX_NAMED:,} more"] if len(unreadable) > MAX_NAMED else []
        parts.append(f"unreadable: {len(unreadable):,} ({', '.join([*unreadable[:MAX_NAMED], *more])})")
    output.note("; ".join(parts))
    if counts["other"]:
        known = "of these captions are" if counts["other"] > 1 else "of these captions is"
        again = "--overwrite captions them again, also those that you have corrected"
        output.note(f"{counts['other']:,} {known} of another model or other options; {again}")
    for line in album.places():
        output.note(line)


def _check_usage(
    names: Sequence[Path], models: Sequence[Path], ensemble: bool, files: Files, overrides: Values
) -> None:
    """Raises: UsageError for options that exclude or need each other, and for outputs that cannot be written."""
    from captioner.photos.metadata import SIDECARS
    from captioner.photos.table_rows import TABLE_FORMATS

    for name in names:
        if is_run(name):
            others = [str(other) for other in names if other != name] or ["PHOTO_OR_FOLDER"]
            command = shlex.join(["captioner", "caption", *others, "--model", str(name)])
            raise UsageError(f"{name}: expected a photograph or a folder, got a model; did you mean {command}?")
    if len(models) > 1 and not ensemble:
        raise UsageError(f"got {len(models)} models; use one, or average their word probabilities with --ensemble")
    for wrong, message in (
        (ensemble and len(models) == 1, "--ensemble needs several --model"),
        (files.overwrite and not files.outputs, "--overwrite needs --write"),
        (files.verbose and not files.outputs, "--verbose needs --write"),
        (overrides.get("caption.attention") and not files.as_json
         and not any(path.suffix.lower() in (".jsonl", *PAGES) for path in files.outputs),
         "--attention needs --json, or --write FILE.jsonl or FILE.html"),
    ):  # fmt: skip
        if wrong:
            raise UsageError(message)
    targets = set[str]()
    for path in (*files.outputs, *files.implied):
        is_sidecar = str(path) in SIDECARS
        if not is_sidecar and path.suffix.lower() not in (*TABLE_FORMATS, *PAGES):
            kinds = f"{', '.join(TABLE_FORMATS)} or {PAGES[0]}, or {', '.join(SIDECARS)}"
            raise UsageError(f"--write {path}: expected a name that ends in {kinds}")
        target = str(path) if is_sidecar else os.path.realpath(path)
        if target in targets:
            raise UsageError(f"--write {path}: given twice; name each output once")
        targets.add(target)


def _open_album(captioner: PhotoCaptioner, models: Sequence[Path], encoder: str | None, files: Files) -> Album:
    """Open the tables and sidecars. Raises: UsageError when one cannot be written, as `Table`."""
    from captioner.captioning.caption import MARKS_VERSION
    from captioner.captioning.find_checkpoint import find_checkpoint
    from captioner.config.options import Config
    from captioner.data.table_cells import digest_of
    from captioner.files.user_files import sha256_of
    from captioner.photos.album import Album
    from captioner.photos.metadata import SIDECARS, Sidecars
    from captioner.photos.table import Table

    for path in files.derived:
        _writer(path, None)
    config, digests = captioner.loaded.config, [sha256_of(find_checkpoint(model)) for model in models]
    # a new option with its default, in a later version, leaves stamps as they are
    chosen = [path for path in differences(config, Config()) if path.startswith(("decode.", "caption."))]
    options = {path: attrgetter(path)(config) for path in chosen}
    model = digest_of(repr((digests, options, encoder, MARKS_VERSION)))
    album = Album([Sidecars(str(path), files.overwrite) for path in files.outputs if str(path) in SIDECARS])
    try:
        for path in (*files.tables, *files.implied):
            album.tables.append(Table(path, model, files.overwrite))
    except BaseException:
        album.close()
        raise
    return album


def _writer(path: Path, regression: WordRegression | None) -> Callable[..., str]:
    """Return the function that writes a file from the records of an album; `regression` is for the search of a page.

    Raises: UsageError if a file exists that is none of `captioner caption`.
    """
    from captioner.files.user_files import check_output

    write: Callable[..., str]
    if path.suffix.lower() in PAGES:
        from captioner.photos.album_page import is_album_page, write_album_page

        is_own, write = is_album_page, partial(write_album_page, regression=regression)
    else:
        from captioner.photos.metadata import is_exiftool_table, write_exiftool_table

        is_own, write = is_exiftool_table, write_exiftool_table
    check_output(path, True, "a file of `captioner caption`", is_own)
    return write
