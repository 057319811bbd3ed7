"""The album: the tables and sidecars of the photographs that one command captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from captioner.captioning.caption import Caption, Description
from captioner.captioning.metadata import Sidecars
from captioner.captioning.table import Table, place_of, real_folder
from captioner.captioning.table_rows import JsonLines, description_of
from captioner.errors import CaptionerError, DataError


class Album:
    """The tables and the sidecars of the photographs of one command.

    A photograph is captioned if a table lacks it or, without tables, if a sidecar is missing.
    """

    def __init__(self, sidecars: Sequence[Sidecars] = ()) -> None:
        real_folder.cache_clear()  # links may have changed since another command of this process
        self.tables, self.sidecars = list[Table](), sidecars
        self.problems: list[CaptionerError] = []
        """Photographs whose sidecars cannot be written, and tables that cannot be prepared."""
        self._corrections: dict[str, str] = {}
        self._missing: dict[str, list[Sidecars]] = {}  # sidecars by the path of the photograph
        self._known: dict[str, Path] = {}  # photographs whose sidecars have the captions of the first table

    def select(self, photos: Iterable[Path | DataError], limit: int | None = None) -> list[Path | DataError]:
        """Return the photographs to caption, at most `limit`, and the errors among them, and prepare the tables.

        Raises: CaptionerError if no table can be prepared.
        """
        chosen: list[Path | DataError] = []
        count = 0
        for photo in photos:
            if isinstance(photo, DataError) or self._lacks(photo):
                chosen.append(photo)
                count += isinstance(photo, Path)
            if count == limit:
                break
        for table in self.tables:
            try:
                table.begin()
            except CaptionerError as error:
                table.failed = True
                if self.is_lost:
                    raise
                self.problems.append(error)
            self._corrections |= table.corrections
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
        if not self.tables:
            return bool(self._missing[place]) or not self.sidecars
        if any([table.lacks(photo) for table in self.tables]):  # noqa: C419 - each table is asked
            return True
        self._known[place] = photo
        return False

    def write(self, photo: Path, caption: Caption) -> Iterator[CaptionerError]:
        """Write the caption of a photograph; yield what could not be written."""
        for table in self.tables:
            try:
                table.write(photo, caption)
            except CaptionerError as error:
                yield error
        keywords = [keyword.word for keyword in caption.keywords]
        yield from self._write_sidecars(place_of(photo), photo, Description(caption.text, keywords, caption.marks))

    def _write_sidecars(self, place: str, photo: Path, description: Description) -> Iterator[CaptionerError]:
        text = self._corrections.get(place)
        is_corrected = text is not None
        if text is not None:
            description = description._replace(caption=text, marks=())
        for sidecars in self.sidecars if is_corrected else self._missing.get(place, ()):
            try:
                sidecars.write(photo, description, is_corrected)
            except CaptionerError as error:
                yield error

    def finish(self) -> Iterator[CaptionerError]:
        """Write the sidecars of photographs that were known before; yield what failed."""
        if self.tables and any(self._missing[place] or place in self._corrections for place in self._known):
            try:
                for place, values in self.tables[0].records():
                    if place in self._known:
                        yield from self._write_sidecars(place, self._known[place], description_of(values))
            except CaptionerError as error:
                yield error

    @property
    def counts(self) -> Counter[str]:
        """What the first table had of the photographs."""
        return self.tables[0].counts if self.tables else Counter()

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

    def close(self) -> None:
        """Close the tables, and let other processes write them."""
        for table in self.tables:
            table.close()

    def records(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yield the records of the JSON lines, with the captions that a person corrected in any table."""
        for table in self.tables:
            if isinstance(table.format, JsonLines):
                for place, values in table.records():
                    text = self._corrections.get(place)
                    yield Path(place), values if text is None else {**values, "caption": text, "corrected": True}
                return
