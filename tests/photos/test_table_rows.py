"""Every format of tables of photographs has a worked example, is recognized by its beginning, and is read back."""

from pathlib import Path

import pytest

from captioner.captioning.caption import Candidate, Caption
from captioner.data.table_cells import Stamp, description_of
from captioner.decode.word_regression import Keyword
from captioner.photos.metadata import SIDECARS
from captioner.photos.table_rows import TABLE_FORMATS, open_format, read_rows

STAMP = Stamp(9, "20261130T111800Z", "0" * 8, "1" * 8, "2" * 8)
CAPTION = Caption(
    "photo", 'a "dog", 1;2', -1.25, [], None, [Candidate("a dog", -1.25)], keywords=[Keyword("dog", 0.8)],
    shares=[Keyword("dog", 0.8)],
)  # fmt: skip
WORKED = {
    ".csv": '"image","caption","keywords","marks","log_prob","familiarity","similarity","file"\r\n'
    f'"a, b.jpg","a ""dog"", 1;2","dog","",-1.25,"","","{STAMP}"\r\n',
    ".jsonl": f'{{"image": "a, b.jpg", "caption": "a \\"dog\\", 1;2", "file": "{STAMP}", "keywords": [{{"word": "dog", '
    '"share": 0.8}], "marks": [], "log_prob": -1.25, "familiarity": null, "similarity": null, "references": [], '
    '"correct": null, "shares": {"dog": 0.8}}\n',
}
"""A table of one photograph in each format."""
SIDECAR_OF = {"xmp": "a.b.jpg.xmp", "lightroom": "a.b.xmp"}
"""The sidecar of a.b.jpg."""


@pytest.mark.parametrize("suffix", TABLE_FORMATS)
def test_a_table_is_the_worked_one_and_is_read_back(suffix: str, tmp_path: Path) -> None:
    form, path = TABLE_FORMATS[suffix], tmp_path / f"album{suffix}"
    path.write_bytes((form.start + form.line("a, b.jpg", CAPTION, STAMP)).encode())
    assert path.read_bytes().decode("utf-8-sig") == WORKED[suffix]
    assert open_format(path, path) == form
    (row,) = (row for row in read_rows(path, path, form) if row.path)
    assert row.path == str(tmp_path / "a, b.jpg")
    assert description_of(row.values)[:2] == (CAPTION.text, ["dog"])


@pytest.mark.parametrize("name", SIDECARS)
def test_the_sidecar_of_a_photograph(name: str) -> None:
    assert SIDECARS[name](Path("f", "a.b.jpg")) == Path("f", SIDECAR_OF[name])
