"""Every column and every mark of captions has a worked example."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import captioner
from captioner.captioning.caption import (
    COLUMNS,
    MARKS,
    MARKS_VERSION,
    Attention,
    Candidate,
    Caption,
    marks_of,
    to_record,
)
from captioner.config.options import Decode
from captioner.decode.word_regression import Keyword

PLAIN = Caption("a.jpg", "a dog", -1.23456, [], None, [Candidate("a dog", -1.23456)])
"""A caption of which nothing else is known."""
FULL = PLAIN._replace(
    references=["dogs"], correct=False, candidates=[*PLAIN.candidates, Candidate("dogs", -2.0)],
    attention=Attention(["dog"], np.array([[0.25, 0.5, 0.25]]), (1, 2)), familiarity=12.345, similarity=0.123456,
    marks=["uncertain", "outside the training domain"], keywords=[Keyword("dog", 0.9), Keyword("snow", 0.5)],
)  # fmt: skip
EMPTY = PLAIN._replace(text="", candidates=[Candidate("", -1.23456)])
"""A caption without words."""
WORKED: dict[str, tuple[Any, Any, bool]] = {
    "image": ("a.jpg", "a.jpg", False),
    "caption": ("a dog", "a dog", True),
    "keywords": ([{"word": "dog", "share": 0.9}, {"word": "snow", "share": 0.5}], "dog, snow", True),
    "marks": (["uncertain", "outside the training domain"], "uncertain, outside the training domain", True),
    "log_prob": (-1.23456, -1.2346, False),
    "familiarity": (12.345, 12.3, False),
    "similarity": (0.123456, 0.1235, True),
    "references": (["dogs"], None, False),
    "correct": (False, None, False),
    "candidates": ([{"caption": "a dog", "log_prob": -1.23456}, {"caption": "dogs", "log_prob": -2.0}], None, True),
    "attention": ({"words": ["dog"], "grid": [1, 2], "weights": [[[0.25, 0.5]]], "sentinel": [0.25]}, None, True),
}
"""The value and the cell of each column of `FULL`, None if tables lack it, and whether the page has the column."""
OF_EMPTY: dict[str, tuple[Any, Any]] = {
    "image": ("a.jpg", "a.jpg"),
    "caption": ("", ""),
    "keywords": ([], ""),
    "marks": ([], ""),
    "log_prob": (-1.23456, -1.2346),
    "familiarity": (None, ""),
    "similarity": (None, ""),
    "references": ([], None),
    "correct": (None, None),
}
"""Those of `EMPTY`; it lacks the other columns."""
TEMPLATES = Path(captioner.__file__).parent / "report" / "templates"
PAGE = "".join((TEMPLATES / name).read_text() for name in ("grid.js", "album.js"))


def columns_of(caption: Caption) -> dict[str, tuple[Any, Any]]:
    cells = {name: None if column.cell is None else column.cell(caption) for name, column in COLUMNS.items()}
    return {name: (value, cells[name]) for name, value in to_record(caption).items()}


def test_every_column_has_its_value_and_cell() -> None:
    on_page = {name: column.on_page for name, column in COLUMNS.items()}
    assert {name: (*pair, on_page[name]) for name, pair in columns_of(FULL).items()} == WORKED
    assert columns_of(EMPTY) == OF_EMPTY
    assert json.loads(json.dumps(to_record(FULL), allow_nan=False)) == to_record(FULL)
    for name, shown in on_page.items():
        assert not shown or re.search(rf"\b{name}\b", PAGE), f"the page does not use {name}"


EXAMPLES: dict[str, list[tuple[dict[str, float | None], float | None]]] = {
    "outside the training domain": [({"familiarity": 4.5}, 4.5), ({"familiarity": None}, None)],
    "uncertain": [({"similarity": 0.25, "familiarity": 3.0}, 0.25), ({"similarity": None}, None)],
}
"""Captions by what is known of them, with the number of each mark."""
VERSIONS = {1: EXAMPLES}
"""The examples of each version: when a mark gets another meaning, increase MARKS_VERSION, and add its examples here."""


@pytest.mark.parametrize("name", MARKS)
def test_a_mark_is_that_of_a_number_below_its_threshold(name: str) -> None:
    assert max(VERSIONS) == MARKS_VERSION
    for fields, number in VERSIONS[MARKS_VERSION][name]:
        caption = PLAIN._replace(**fields)
        assert MARKS[name].number(caption) == number
        for threshold in (0.0, 1e9) if number is None else (number, np.nextafter(number, np.inf)):
            options = dataclasses.replace(Decode(), **{MARKS[name].threshold: threshold})
            assert (name in marks_of(caption, options)) == (number is not None and number < threshold)
