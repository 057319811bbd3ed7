"""Every column and every mark of captions has a worked example."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from captioner.captioning.caption import COLUMNS, MARKS, Attention, Candidate, Caption, marks_of, to_record
from captioner.config.options import Decode
from captioner.decode.word_regression import Keyword

PLAIN = Caption("a.jpg", "a dog", -1.23456, [], None, [Candidate("a dog", -1.23456)])
"""A caption of which nothing else is known."""
FULL = PLAIN._replace(
    references=["dogs"], correct=False, candidates=[*PLAIN.candidates, Candidate("dogs", -2.0)],
    attention=Attention(["dog"], np.array([[0.25, 0.5, 0.25]]), (1, 2)), familiarity=12.345, similarity=0.123456,
    marks=["uncertain", "outside the training domain"], keywords=[Keyword("dog", 0.9), Keyword("snow", 0.5)],
)  # fmt: skip
WORKED: dict[str, tuple[Any, Any]] = {
    "image": ("a.jpg", "a.jpg"),
    "caption": ("a dog", "a dog"),
    "keywords": ([{"word": "dog", "share": 0.9}, {"word": "snow", "share": 0.5}], "dog, snow"),
    "marks": (["uncertain", "outside the training domain"], "uncertain, outside the training domain"),
    "log_prob": (-1.23456, -1.2346),
    "familiarity": (12.345, 12.3),
    "similarity": (0.123456, 0.1235),
    "references": (["dogs"], None),
    "correct": (False, None),
    "candidates": ([{"caption": "a dog", "log_prob": -1.23456}, {"caption": "dogs", "log_prob": -2.0}], None),
    "attention": ({"words": ["dog"], "grid": [1, 2], "weights": [[[0.25, 0.5]]], "sentinel": [0.25]}, None),
}
"""The value and the cell of each column of `FULL`; None for a column that tables lack."""
NUMBERS = {"outside the training domain": "familiarity", "uncertain": "similarity"}
"""The number of each mark."""


def test_every_column_has_its_value_and_cell() -> None:
    cells = {name: None if column.cell is None else column.cell(FULL) for name, column in COLUMNS.items()}
    assert {name: (value, cells[name]) for name, value in to_record(FULL).items()} == WORKED
    assert json.loads(json.dumps(to_record(FULL), allow_nan=False)) == to_record(FULL)


def test_what_is_not_known_has_no_key_or_is_empty() -> None:
    record = to_record(PLAIN)
    assert record.keys() == {name for name, column in COLUMNS.items() if not column.optional}
    assert all(value in ([], None) for name, value in record.items() if name not in ("image", "caption", "log_prob"))
    cells = {name: column.cell(PLAIN) for name, column in COLUMNS.items() if column.cell}
    assert all(cell == "" for name, cell in cells.items() if name not in ("image", "caption", "log_prob"))


@pytest.mark.parametrize("name", MARKS)
def test_a_mark_is_that_of_a_number_below_its_threshold(name: str) -> None:
    options = dataclasses.replace(Decode(), **{mark.threshold: 0.5 for mark in MARKS.values()})
    marks = [marks_of(PLAIN._replace(**{NUMBERS[name]: value}), options) for value in (None, 0.5, 0.49, 0.0)]
    assert marks == [[], [], [name], [name]]
