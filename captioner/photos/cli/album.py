"""captioner album: what the album knows, its exports and corrections, and photographs that are missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from captioner.cli import output
from captioner.cli.shared_options import PATH, examples
from captioner.errors import CaptionerError, DataError, UsageError

if TYPE_CHECKING:
    from captioner.photos.album import Album
    from captioner.photos.exports import Table

TABLE, PAGES, EXIFTOOL = ".csv", (".html", ".htm"), "exiftool.csv"
"""The files of --write by their suffix, and a table that exiftool reads."""
IN_MEMORY = Path("none")
"""The value of --album for no album."""
album_option = click.option(
    "--album", "album_file", type=PATH, metavar="FILE",
    help="The album: a database of captions and corrections; `none` for none.  [default: CAPTIONER_ALBUM, or "
    "captioner/album.db in the folder of your data]",
)  # fmt: skip


def real_path(file: Path) -> Path:
    """Return the path of a file that may not exist, without links to folders."""
    return Path(os.path.realpath(file.parent), file.name)


def check_names(files: Sequence[Path]) -> None:
    """Check the names of --write and --export. Raises: UsageError."""
    from captioner.photos.metadata import SIDECARS

    targets = set[str]()
    for path in files:
        is_sidecar = str(path) in SIDECARS
        if not is_sidecar and path.suffix.lower() not in (TABLE, *PAGES):
            kinds = f"{TABLE} or {PAGES[0]}, or {', '.join(SIDECARS)}"
            raise UsageError(f"{path}: expected a name that ends in {kinds}")
        target = str(path) if is_sidecar else os.path.realpath(path)
        if target in targets:
            raise UsageError(f"{path}: given twice; name each output once")
        targets.add(target)


def open_album(file: Path | None, must_exist: bool = False) -> Album:
    """Open an album, by default that of the user; if that cannot be written, warn, and use one in memory.

    Raises: UsageError if it must exist and does not; as `Album`.
    """
    from captioner.photos.album import Album, default_path

    path = file or default_path()
    if path == IN_MEMORY:
        return Album(None)
    if must_exist and not path.exists():
        raise UsageError(f"{path}: no album; `captioner caption FOLDER` makes it, or name another with --album")
    try:
        return Album(path)
    except (UsageError, DataError):  # of a file that is none, or damaged
        raise
    except CaptionerError as error:
        if file is not None or must_exist:
            raise
        output.problem(f"{error}; captions are not kept")
        return Album(None)


class Exports:
    """The files of --write, and the tables that the album wrote before and that have changed since.

    What a person corrected in them is added to the album. Raises: UsageError for a file that cannot be written, or is
    no export.
    """

    def __init__(self, album: Album, files: Sequence[Path]) -> None:
        from captioner.files.user_files import check_output, sha256_of
        from captioner.photos.album_page import is_album_page
        from captioner.photos.exports import OTHERS, read_table
        from captioner.photos.metadata import SIDECARS, is_exiftool_table

        check_names(files)
        self._album, self.sidecars = album, [str(file) for file in files if str(file) in SIDECARS]
        self._others = [file for file in files if file.name == EXIFTOOL or file.suffix.lower() in PAGES]
        for file in self._others:
            is_own = is_exiftool_table if file.name == EXIFTOOL else is_album_page
            check_output(file, True, "a file of `captioner caption`", is_own)
        named = [file for file in files if file not in self._others and str(file) not in SIDECARS]
        self.tables, known = {real_path(file): read_table(file) for file in named}, album.exports()
        self._edited = [table for path, table in self.tables.items() if known.get(path) != table.digest]
        for table in self._edited:  # and again when they are written: the album may not know the photographs yet
            self._take(table, missing=False)
        for path, digest in known.items():
            if path.suffix.lower() == TABLE and path not in self.tables and path.is_file():
                try:
                    if (found := sha256_of(path)) != digest:
                        self._take(read_table(path), missing=found + OTHERS != digest)
                except CaptionerError as error:
                    output.problem(f"{error}; its corrections are not read")

    def _take(self, table: Table, missing: bool = True) -> None:
        from captioner.photos.exports import take_corrections

        count, problems = take_corrections(self._album, table, missing)
        for problem in problems:
            output.problem(problem)
        if count:
            output.note(f"{table.path}: {_count(count, 'correction')}")

    def _write(self, table: Table, photos: Sequence[Path] | None) -> str:
        """Write a table as one transaction: else another process could add photographs of rows that were not read."""
        from captioner.photos.exports import write_table

        with self._album.transaction():
            if table in self._edited:
                self._take(table)
            return write_table(self._album, table, photos)

    def write(self, photos: Sequence[Path] | None) -> list[CaptionerError]:
        """Write all files for photographs, None for all; report what was written, and return what failed."""
        from captioner.photos.album_page import write_album_page
        from captioner.photos.metadata import write_exiftool_table, write_sidecars

        album, failed = self._album, list[CaptionerError]()
        writers = [partial(self._write, table, photos) for table in self.tables.values()]
        for path in self._others:
            write = write_exiftool_table if path.name == EXIFTOOL else write_album_page
            writers.append(partial(write, path, album.entries(photos)))
        for writer in writers:
            try:
                output.note(writer())
            except CaptionerError as error:
                failed.append(error)
        for name in self.sidecars:
            for found in write_sidecars(name, album, photos):
                if isinstance(found, CaptionerError):
                    failed.append(found)
                else:
                    output.note(found)
        return failed


@click.command(
    epilog=examples(
        "album", "album --export captions.csv", "album --forget-missing old/", "album --add part-1.db --add part-2.db"
    )
)
@click.option(
    "--export",
    "exports",
    multiple=True,
    type=PATH,
    metavar="FILE",
    help="Write all photographs to FILE, as caption --write.",
)
@click.option(
    "--forget-missing", "folder", type=PATH, metavar="FOLDER", help="Forget photographs that FOLDER has no more."
)
@click.option("--add", "others", multiple=True, type=PATH, metavar="ALBUM", help="Add what another album has.")
@click.option("--check", is_flag=True, help="Check that the file is whole.")
@click.option("--delete", is_flag=True, help="Delete the album, with all corrections.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@album_option
def album(
    exports: tuple[Path, ...], folder: Path | None, others: tuple[Path, ...], check: bool, delete: bool, yes: bool,
    album_file: Path | None,
) -> int:  # fmt: skip
    """Print what the album knows, and export, check or clean it.

    The album has the captions that `captioner caption` wrote and what people corrected. Corrections in exported tables
    are read first. --forget-missing forgets where photographs were, not their captions and corrections, which come back
    with them.
    """
    from captioner.photos.album import thumbnails_of

    with open_album(album_file, must_exist=not others) as opened:
        if check:
            opened.check()
        for other in others:
            with open_album(other, must_exist=True) as added:
                opened.merge(added)
        files = Exports(opened, exports)
        missing = [entry.path for entry in opened.entries() if not os.path.lexists(entry.path)]
        if folder is not None:
            missing = _forget(opened, missing, folder, yes)
        failed = files.write(None) if exports else []
        for error in failed:
            output.problem(error)
        models, corrections = opened.models(), opened.corrections()
        output.result(f"album: {opened.name}")
        output.result(
            f"files: {models.total():,}; missing: {len(missing):,}; of corrected photographs: {len(corrections):,}"
        )
        for model, count in models.most_common():
            output.result(f"captions of {model}: {count:,}")
        for file in opened.exports():
            if file.suffix.lower() != ".xmp":
                output.result(f"table: {file}{'' if file.exists() else ' (missing)'}")
        path = opened.path
    if delete and path is not None:
        _confirm(f"delete {path} with {_count(len(corrections), 'correction')}?", yes)
        shutil.rmtree(thumbnails_of(path), ignore_errors=True)
        for file in (path.resolve(), path.resolve().with_name(f"{path.resolve().name}-journal"), path):
            file.unlink(missing_ok=True)
    return int(bool(failed))


def _forget(album: Album, missing: Sequence[Path], folder: Path, yes: bool) -> list[Path]:
    """Forget missing photographs of a folder, and return the others.

    Raises: UsageError for a folder that is missing itself, as on a drive that is not mounted.
    """
    top = Path(os.path.realpath(folder))
    if not top.is_dir():
        raise UsageError(f"{folder}: expected a folder, got nothing; is its drive mounted?")
    chosen = [path for path in missing if path.is_relative_to(top)]
    if chosen:
        _confirm(f"forget the places of {_count(len(chosen), 'photograph')}, such as {chosen[0]}?", yes)
    album.forget(chosen)
    return [path for path in missing if path not in set(chosen)]


def _confirm(question: str, yes: bool) -> None:
    """Ask, unless `yes` is set. Raises: CaptionerError if the answer is no."""
    if not yes and not click.confirm(question, err=True):
        raise CaptionerError("not confirmed; nothing was changed")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
