"""JSON lines: every line gives captions or an issue."""

import json

import pytest
from shown_captions import shown

from captioner.data.readers.records import Columns
from captioner.data.readers.tables import json_lines

COLUMNS = Columns()


def objects(*lines, columns=COLUMNS):
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return shown(json_lines("c.jsonl", "\n".join(texts), columns))


def test_json_lines_are_read():
    assert objects(
        {"image": " a ", "caption": " A dog "}, "", {"image": "b", "caption": ["x", "y"], "split": "val"}
    ) == [
        "c.jsonl:1 a|A dog|None",
        "c.jsonl:3 b|x|val",
        "c.jsonl:3 b|y|val",
    ]
    assert objects({"f": "a", "t": "x", "s": "q"}, columns=Columns("f", "t", "s")) == ["c.jsonl:1 a|x|q"]


JSON_FLAWS = {
    '{"image": "a"': "invalid JSON: Expecting ',' delimiter: line 1 column 14 (char 13)",
    '{"image": "a", "image": "b", "caption": "x"}': "invalid JSON: duplicate key 'image'",
    '["a", "x"]': "expected an object with image and caption, got ['a', 'x']",
    "null": "expected an object with image and caption, got None",
    "{}": "image: expected text, got nothing",
    '{"image": "a"}': "caption: expected text, got nothing",
    '{"image": 7, "caption": "x"}': "image: expected text, got 7",
    '{"image": "a", "caption": null}': "caption: expected text, got nothing",
    '{"image": "a", "caption": 3.5}': "caption: expected text, got 3.5",
    '{"image": "a", "caption": false}': "caption: expected text, got False",
    '{"image": "a", "caption": []}': "caption: expected text, got []",
    '{"image": "a", "caption": [["x"]]}': "caption: expected text, got ['x']",
    '{"image": "a", "caption": {"x": 1}}': "caption: expected text, got {'x': 1}",
    '{"image": "a", "caption": "x", "split": 1}': "split: expected a name, got 1",
    '{"image": "a", "caption": ' + "9" * 5000 + "}": "invalid JSON: Exceeds the limit ",
    '{"image": "a", "caption": ' + "[" * 100_000: "invalid JSON: maximum recursion depth ",
    '{"image": "a", "caption": ' + "9" * 4000 + "}": "caption: expected text, got " + "9" * 38 + "..." + "9" * 19,
}


@pytest.mark.parametrize("line", JSON_FLAWS, ids=range(len(JSON_FLAWS)))
def test_an_invalid_json_line_is_an_issue(line):
    before, issue, after = objects({"image": "x", "caption": "y"}, line, {"image": "z", "caption": "z"})
    assert (before, after) == ("c.jsonl:1 x|y|None", "c.jsonl:3 z|z|None")
    problem = JSON_FLAWS[line]
    assert issue.startswith(f"c.jsonl:2: {problem}")
    assert problem.endswith(" ") or issue == f"c.jsonl:2: {problem}"


def test_non_text_captions_in_a_list_are_issues():
    assert objects({"image": "a", "caption": ["x", None, " ", "y"]}) == [
        "c.jsonl:1 a|x|None",
        "c.jsonl:1: caption: expected text, got nothing",
        "c.jsonl:1: caption: expected text, got ' '",
        "c.jsonl:1 a|y|None",
    ]
