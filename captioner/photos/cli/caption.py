"""captioner caption: write captions for photographs, and resume where the last run stopped."""

from __future__ import annotations

import hashlib
import shlex
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from captioner.photos.cli.album import PAGES, Exports, album_option, check_names, open_album

if TYPE_CHECKING:
    from captioner.captioning.caption import Caption
    from captioner.config.options import Caption as CaptionConfig
    from captioner.photos.album import Album, Status
    from captioner.photos.captioner import PhotoCaptioner

MAX_NAMED = 10
"""Unreadable photographs that are named at the end."""


@dataclass(frozen=True)
class Files:
    """The options of what is written: lines on stdout, and files."""

    as_json: bool
    verbose: bool
    outputs: tuple[Path, ...]
    recaption: bool
    album_file: Path | None

    @property
    def has_lines(self) -> bool:
        """Whether a line per photograph is printed."""
        return self.as_json or self.verbose or not self.outputs


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
        "caption holiday/ --model runs/birds --write birds.csv",
        "caption holiday/ --part 2/8 --album part-2.db",
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
    "to the folder is I - 1 modulo N. `captioner album --add` joins the albums of machines.",
)  # fmt: skip
@caption_options("n_best", "attention")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per photograph.")
@click.option("-v", "--verbose", is_flag=True, help="With --write, also print a line per photograph.")
@click.option(
    "--write", "outputs", multiple=True, type=PATH, metavar="FILE",
    help="Write what the album knows of these photographs to FILE; may be repeated. FILE.csv is a table for "
    "spreadsheets: what you correct in it is kept, wherever it is moved. FILE.html is a page with the photographs; "
    "exiftool.csv is read by exiftool. With xmp (photo.jpg.xmp, for darktable and digiKam) or lightroom (photo.xmp, "
    "also for Capture One), files are written beside the photographs; those of other programs are never changed.",
)  # fmt: skip
@click.option("--recaption", is_flag=True, help="Caption known photographs again; corrections are kept.")
@album_option
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
    from captioner.captioning.load import check_attention, open_runs
    from captioner.photos.album import place_of
    from captioner.photos.captioner import PhotoCaptioner, photo_warnings
    from captioner.photos.photographs import photo_paths

    loaded = open_runs(models, overrides)
    if loaded.config.caption.attention:
        check_attention(loaded)
    captioner, progress = PhotoCaptioner(loaded, encoder), Progress()
    with open_album(files.album_file) as album:
        exports = Exports(album, files.outputs)
        if album.is_new and album.path:
            output.note(f"captions and corrections are kept in {album.path} (--album none: not)")
        found = {
            photo if isinstance(photo, DataError) else place_of(photo): photo
            for photo in photo_paths(names, chosen.part)
        }
        photos, new = [*found.values()], _new(album, found.values(), files, loaded.config.caption)
        output.warnings((*captioner.warnings, *(photo_warnings(loaded) if new else ())))
        work = Work(captioner, album, _model_of(captioner, models, encoder), files, progress)
        work.caption(photos, new, chosen.number)
        album.flush()
        paths = [photo for photo in photos if isinstance(photo, Path)]
        progress.report()
        _report(progress, album, files, paths, work.model)
        for error in exports.write(paths):
            progress.fail(error)
    if progress.stopped_by and progress.left:
        again = f"captioner {shlex.join(sys.argv[1:])}"
        if len(again) > LONGEST:  # of many photographs: a line would have an incomplete command
            again = "the same command"
        output.note(f"stopped; photographs left: {progress.left:,}; resume with: {again}")
        return exit_code_of(progress.stopped_by)
    return progress.code


def _new(album: Album, photos: Iterable[Path | DataError], files: Files, options: CaptionConfig) -> set[Path]:
    """Return the photographs whose files are to be read: those that the album lacks, or whose captions lack candidates
    or attention that is asked for.
    """
    new = set[Path]()
    for photo in photos:
        if isinstance(photo, Path):
            with suppress(DataError):  # reported when it is read
                if not files.recaption and album.known(photo):
                    entries = album.entries([photo]) if options.n_best > 1 or options.attention else ()
                    if all(_has(entry.generated, options) for entry in entries):
                        continue
            new.add(photo)
    album.flush()
    return new


def _has(caption: Caption, options: CaptionConfig) -> bool:
    return len(caption.candidates) >= options.n_best and (caption.attention is not None or not options.attention)


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


@dataclass
class Work:
    """Captions photographs until a signal, and adds the captions to the album."""

    captioner: PhotoCaptioner
    album: Album
    model: str
    files: Files
    progress: Progress

    def caption(self, photos: Sequence[Path | DataError], new: Set[Path], number: int | None) -> None:
        """Caption the photographs in `new`, at most `number`, and print the lines of all, in their order.

        Those that cannot be read do not count.
        """
        from tqdm import tqdm

        progress, rest = self.progress, deque(photos)
        options = self.captioner.loaded.config.caption
        is_again = self.files.recaption or options.n_best > 1 or options.attention
        known = set[bytes]() if is_again else self.album.digests()
        progress.left = len(new) if number is None else min(len(new), number)
        bar = tqdm(disable=True) if self.files.has_lines else output.progress(progress.left, "photograph", in_log=True)
        with bar, stop_signals() as caught:
            while rest and not caught:
                missing = len(new) if number is None else number - progress.captioned
                part = list[Path | DataError]()
                while rest and (missing or rest[0] not in new):
                    part.append(rest.popleft())
                    missing -= part[-1] in new
                if not part:
                    break
                self._caption(part, new, known, caught, bar)
        progress.stopped_by, progress.left = caught[0] if caught else 0, max(progress.left, 0)

    def _caption(
        self, photos: Sequence[Path | DataError], new: Set[Path], known: set[bytes], caught: Sequence[int], bar: Any
    ) -> None:
        """Caption the photographs in `new` whose pictures are not `known`, and print the lines of all."""
        from captioner.captioning.caption import Caption
        from captioner.photos.album import status_of
        from captioner.photos.photographs import Known

        progress, album = self.progress, self.album
        statuses: dict[Path | DataError, Status] = {}

        def until_stopped() -> Iterator[Path | Known | DataError]:
            for photo in photos:
                if caught:
                    with output.above_progress():
                        output.note("stopping after the photographs that are being read")
                    return
                if isinstance(photo, Path) and photo not in new:
                    yield Known(photo)
                    continue
                with suppress(DataError):  # before it is read: a change after that is seen by the next run
                    statuses[photo] = status_of(Path(str(photo)))
                yield photo

        results: Iterable[Any] = until_stopped()
        if not new.isdisjoint(photos):
            results = self.captioner.captions(self.captioner.photographs(results, known))
        for photo, result in zip(photos, results, strict=False):
            with output.above_progress():
                if photo in new or isinstance(result, DataError):
                    bar.update()
                    progress.left -= photo in new
                if isinstance(result, DataError):
                    progress.fail(result)
                    progress.unreadable.append(str(photo).partition(": ")[0])
                    continue
                assert isinstance(photo, Path)
                if isinstance(result, Caption):
                    digest = bytes.fromhex(result.digest)
                    known.add(digest)
                    album.locate(photo, digest, statuses[photo], result, self.model)
                    progress.add(result)
                else:
                    progress.known += 1
                    if result.digest:
                        album.locate(photo, result.digest, statuses[photo])
            if self.files.has_lines:
                is_new = isinstance(result, Caption) and not self.files.recaption  # else a person may have corrected it
                entries = () if is_new else album.entries([photo])
                for caption in [entry.caption for entry in entries] or [result]:
                    with output.ignoring_a_closed_pipe(progress.fail) if self.files.outputs else nullcontext():
                        candidates = caption.candidates[: self.captioner.loaded.config.caption.n_best]
                        shown = caption._replace(image=str(photo), candidates=candidates)
                        print_caption(shown, self.files.as_json)


def _report(progress: Progress, album: Album, files: Files, photos: Sequence[Path], model: str) -> None:
    """Print what was captioned and what was known, unless all lines tell it, and how many captions are of others."""
    unreadable, corrected, other = progress.unreadable, 0, 0
    for entry in album.entries(photos):
        corrected += entry.correction is not None
        other += entry.model != model
    parts = [f"captioned: {progress.captioned:,}"]
    parts += [f"already captioned: {progress.known:,}"] if progress.known else []
    parts += [f"corrected by you: {corrected:,}"] if corrected else []
    if unreadable:
        more = [f"and {len(unreadable) - MAX_NAMED:,} more"] if len(unreadable) > MAX_NAMED else []
        parts.append(f"unreadable: {len(unreadable):,} ({', '.join([*unreadable[:MAX_NAMED], *more])})")
    if files.outputs or progress.known > 1 or (unreadable and progress.captioned):
        output.note("; ".join(parts))
    if other:
        known = "captions are" if other > 1 else "caption is"
        output.note(
            f"{other:,} {known} of another model or other options; --recaption replaces them, and keeps corrections"
        )


def _check_usage(
    names: Sequence[Path], models: Sequence[Path], ensemble: bool, files: Files, overrides: Values
) -> None:
    """Raises: UsageError for options that exclude or need each other, and for outputs that cannot be written."""
    for name in names:
        if is_run(name):
            others = [str(other) for other in names if other != name] or ["PHOTO_OR_FOLDER"]
            command = shlex.join(["captioner", "caption", *others, "--model", str(name)])
            raise UsageError(f"{name}: expected a photograph or a folder, got a model; did you mean {command}?")
    if len(models) > 1 and not ensemble:
        raise UsageError(f"got {len(models)} models; use one, or average their word probabilities with --ensemble")
    for wrong, message in (
        (ensemble and len(models) == 1, "--ensemble needs several --model"),
        (files.verbose and not files.outputs, "--verbose needs --write"),
        (overrides.get("caption.attention") and not files.as_json
         and not any(path.suffix.lower() in PAGES for path in files.outputs),
         "--attention needs --json, or --write FILE.html"),
    ):  # fmt: skip
        if wrong:
            raise UsageError(message)
    check_names(files.outputs)


def _model_of(captioner: PhotoCaptioner, models: Sequence[Path], recipe: str | None) -> str:
    """Return what identifies the models and options of captions: their names, and a digest."""
    from captioner.captioning.caption import MARKS_VERSION
    from captioner.captioning.find_checkpoint import find_checkpoint
    from captioner.config.options import Config
    from captioner.data.encoder_identity import parse_identity
    from captioner.files.user_files import sha256_of

    config, encoder = captioner.loaded.config, captioner.loaded.meta.encoder
    files = [find_checkpoint(model) for model in models]
    # a new option with its default, in a later version, changes no digest
    chosen = [path for path in differences(config, Config()) if path.startswith(("decode.", "caption."))]
    options = {path: attrgetter(path)(config) for path in chosen}
    other = recipe if parse_identity(encoder) is None else None  # a known encoder is the same, whatever its recipe is
    values = [*map(sha256_of, files), options, encoder, other, MARKS_VERSION]
    name = " and ".join(model.name for model in models)
    return f"{name}, {hashlib.sha256(repr(values).encode()).hexdigest()[:8]}"
