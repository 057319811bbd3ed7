"""The album: the tables and sidecars of the photographs that one command captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from captioner.captioning.caption import Caption
from captioner.data.table_cells import Description, correction_of, description_of
from captioner.errors import CaptionerError, DataError
from captioner.photos.metadata import Sidecars
from captioner.photos.table import Table
from captioner.photos.table_rows import JsonLines, place_of, real_folder


def _failures(actions: Iterable[Callable[[], object]]) -> Iterator[CaptionerError]:
    """Call functions, and yield the errors of those that fail."""
    for action in actions:
        try:
            action()
        except CaptionerError as error:
            yield error


class Album:
    """The tables and the sidecars of the photographs of one command.

    A photograph is captioned if a table lacks it or, without tables, if a sidecar is missing. A caption that a person
    corrected in one table is also used in the JSON lines of the others and in sidecars.
    """

    def __init__(self, sidecars: Sequence[Sidecars] = ()) -> None:
        real_folder.cache_clear()  # links may have changed since another command of this process
        self.tables, self.sidecars = list[Table](), sidecars
        self.problems: list[CaptionerError] = []
        """Photographs whose sidecars cannot be written, and tables that cannot be prepared."""
        self._corrections: dict[str, Description] = {}
        self._missing: dict[str, list[Sidecars]] = {}  # sidecars by the path of the photograph
        self._known: dict[str, Path] = {}  # photographs whose sidecars have the captions of the first table

    def select(self, photos: Iterable[Path | DataError], limit: int | None = None) -> list[Path | DataError]:
        """Return the photographs to caption, at most `limit`, and the errors among them, and prepare the tables.

        It may be called again, for more. Raises: CaptionerError if no table can be prepared.
        """
        if self._missing:
            self.problems += _failures(partial(table.read_again, self._corrections) for table in self.tables)
        for table in self.tables:  # of two corrections, that in the first table is used
            self._corrections = {**table.corrections, **self._corrections}
        chosen: list[Path | DataError] = []
        count = 0
        for photo in photos:
            if isinstance(photo, DataError) or self._lacks(photo):
                chosen.append(photo)
                count += isinstance(photo, Path)
            if count == limit:
                break
        for table in self.tables:
            for place, correction in self._corrections.items():
                table.correct(place, correction)
        self.problems += _failures(table.begin for table in self.tables)
        if self.is_lost:
            raise self.problems.pop()
        return chosen

    def _lacks(self, photo: Path) -> bool:
        place = place_of(photo)
        if place in self._missing and (self.tables or self.sidecars):
            return False  # named twice
        self._missing[place] = []
        for sidecars in self.sidecars:
            try:
                self._missing[place] += [sidecars] if sidecars.lacks(photo) else []
            except CaptionerError as error:
                self.problems.append(error)
        is_missing = [table.lacks(photo, place in self._corrections) for table in self.tables]
        if not self.tables:
            is_missing = [bool(self._missing[place]) or not self.sidecars]
        if not any(is_missing):
            self._known[place] = photo
        return any(is_missing)

    def write(self, photo: Path, caption: Caption) -> Iterator[CaptionerError]:
        """Write the caption of a photograph; yield what could not be written."""
        place = place_of(photo)
        yield from _failures(
            partial(table.write, photo, caption, self._corrections.get(place)) for table in self.tables
        )
        keywords = [keyword.word for keyword in caption.keywords]
        yield from self._write_sidecars(place, photo, Description(caption.text, keywords, caption.marks))

    def _write_sidecars(self, place: str, photo: Path, description: Description) -> Iterator[CaptionerError]:
        correction = self._corrections.get(place)
        is_corrected, description = correction is not None, correction or description
        sidecars = self.sidecars if is_corrected else self._missing.get(place, ())
        yield from _failures(partial(each.write, photo, description, is_corrected) for each in sidecars)

    def finish(self) -> Iterator[CaptionerError]:
        """Complete the tables, and write the sidecars of photographs that they knew; yield what failed."""
        yield from _failures(partial(table.finish, self._corrections) for table in self.tables)
        if self.tables and any(self._missing[place] or place in self._corrections for place in self._known):
            try:
                for row in self.tables[0].records():
                    if row.path in self._known:
                        photo, description = self._known[row.path], description_of(row.values)
                        yield from self._write_sidecars(row.path, photo, description)
            except CaptionerError as error:
                yield error

    @property
    def counts(self) -> Counter[str]:
        """The photographs that are `known`, those of them with a `corrected` row, and the counts of the first table."""
        known = {"known": len(self._known), "corrected": len(self._corrections.keys() & self._known)}
        return Counter(known) + (self.tables[0].counts if self.tables else Counter())

    @property
    def is_lost(self) -> bool:
        """Whether nothing can be written any more."""
        return bool(self.tables) and not self.sidecars and all(table.failed for table in self.tables)

    def places(self) -> Iterator[str]:
        """Describe where the captions are, and which files were kept."""
        for table in self.tables:
            if count := len(table):
                yield f"{table.name}: {count:,} photograph{'s' * (count != 1)}"
        for sidecars in self.sidecars:
            yield from filter(None, sidecars.finish())

    def records(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yield the records of the first JSON lines, or else of the first table; corrected ones have `corrected`."""
        for row in min(self.tables, key=lambda table: not isinstance(table.format, JsonLines)).records():
            corrected = {} if correction_of(row.values) is None else {"corrected": True}
            yield Path(row.path), {**row.values, **corrected}

    def close(self) -> None:
        """Close the tables, and let other processes write them."""
        for table in self.tables:
            table.close()
