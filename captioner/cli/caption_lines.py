"""The lines of captions on stdout, and the notes after them, of `captioner caption` and `captioner sample`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from captioner.cli import output

if TYPE_CHECKING:
    from captioner.captioning.caption import Caption

CORRECT = {True: ("fully correct",), False: ("not fully correct",), None: ()}


def print_caption(caption: Caption, as_json: bool) -> None:
    """Print a caption as a record, or its lines: name, text and marks, then candidates and references."""
    if as_json:
        from captioner.captioning.caption import to_record

        output.record(to_record(caption))
        return
    marks = [", ".join(caption.marks)] if caption.marks else []
    output.result(caption.image, caption.text, *CORRECT[caption.correct], *marks)
    for rank, candidate in enumerate(caption.candidates[1:], 2):
        output.result("", candidate.text, f"rank {rank}")
    for reference in caption.references:
        output.result("", f"  {' '.join(reference.split())}")


@dataclass
class Tally:
    """Counts the captions of a command, those that were known, those that are empty, and their marks."""

    captioned: int = 0
    known: int = 0
    empty: int = 0
    marked: Counter[str] = field(default_factory=Counter)

    def add(self, caption: Caption) -> None:
        self.captioned += 1
        self.empty += not caption.text
        self.marked.update(caption.marks)

    def report(self) -> None:
        """Print a warning of empty captions, and what the marks mean."""
        from captioner.captioning.caption import MARKS
        from captioner.captioning.decoding import ENDS_EARLY

        total = f"of {self.captioned:,} captions are"
        if self.empty:
            those = f"{self.empty:,} {total} empty" if self.captioned > 1 else "the caption is empty"
            output.warnings([f"{those}: {ENDS_EARLY}"])
        for name, mark in MARKS.items():
            if count := self.marked[name]:
                those = f"{count:,} {total}" if self.captioned > 1 else "the caption is"
                output.note(f'{those} marked "{name}": {mark.meaning} (decode.{mark.threshold})')
