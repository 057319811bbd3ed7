"""Files of captions: tables and JSON lines; existing files are kept."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from captioner.captioning.caption import TABLE_COLUMNS, Caption
from captioner.captioning.output_files import FILES, CaptionFile
from captioner.data.table_cells import unescape_cell
from captioner.decode.word_regression import Keyword
from captioner.errors import UsageError


def opened(path: Path, overwrite: bool = False) -> CaptionFile:
    return CaptionFile(path, FILES[path.suffix], overwrite)


CELL = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(st.sampled_from(list("=+-@\uff1d'\"ab ,;\t\r\n"))),
)


@given(image=CELL, text=CELL)
@example("=cmd|' /C calc'!A0.jpg", "'=1+1")
@example("a.jpg;=1+1", "\t=1+1")
def test_no_cell_of_a_table_is_a_formula_and_all_are_restored(image: str, text: str) -> None:
    caption = Caption(image, text, -1.63456, [], None, [])
    written = FILES[".csv"].entry(caption)
    (row,) = csv.reader(io.StringIO(written, newline=""), strict=True)
    assert len(row) == len(TABLE_COLUMNS)
    assert ",-1.6346," in written, "a number, without quotes"
    assert [unescape_cell(cell) for cell in row[:2]] == [image, text]
    for cell in row[:2]:
        assert not cell.startswith(("\t", "\r", "\n"))
        for separator in ";\t":
            assert not any(part.lstrip(" ").startswith(tuple("=+-@\uff1d")) for part in cell.split(separator))


WORKED = {
    ".csv": '"a, b.jpg","a ""dog""","dog","",-1.25,"",0.5\r\n',
    ".jsonl": '{"image": "a, b.jpg", "caption": "a \\"dog\\"", "keywords": [{"word": "dog", "share": 0.8}], '
    '"marks": [], "log_prob": -1.25, "familiarity": null, "similarity": 0.5, "references": [], "correct": null}\n',
}
"""The entry of one caption in each kind of file."""


@pytest.mark.parametrize("suffix", FILES)
def test_the_entry_of_a_caption(suffix: str) -> None:
    caption = Caption("a, b.jpg", 'a "dog"', -1.25, [], None, [], similarity=0.5, keywords=[Keyword("dog", 0.8)])
    assert FILES[suffix].entry(caption) == WORKED[suffix]


@pytest.mark.parametrize("suffix", FILES)
def test_a_kind_of_file_is_recognized_by_its_start_alone(suffix: str, tmp_path: Path) -> None:
    own, other, sink = tmp_path / f"own{suffix}", tmp_path / f"other{suffix}", opened(tmp_path / f"own{suffix}")
    sink.write(Caption("a.jpg", "a café 猫", -1.0, [], None, []))
    sink.finish()
    assert "a.jpg" in own.read_text("utf-8-sig")
    opened(own, overwrite=True)
    for text in (
        "# Title\n\nText\n", "- a list\n- of a person\n", "- dog: brown\n", "a.jpg\ta dog\n",
        "image,caption\na.jpg,a dog\n", '{"image": "a.jpg", "caption": "a dog"}\n', "<p>a dog</p>\n",
    ):  # fmt: skip
        other.write_text(text)
        with pytest.raises(UsageError, match="expected"):
            opened(other, overwrite=True)


def test_a_table_of_captions_replaces_only_its_kind(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    table = opened(path)
    for name in ("é.png", "\udcff.png"):
        table.write(Caption(name, "a café 猫", -1.0, [], None, []))
    assert table.finish() == f"{path}: 2 captions written"
    text = path.read_bytes().decode()
    assert text.startswith('\ufeff"image","caption",')
    assert [line.partition(",")[0] for line in text.splitlines()[1:]] == ['"é.png"', '"\\udcff.png"']
    with pytest.raises(UsageError, match=r"captions\.csv: exists already; .* --overwrite$"):
        opened(path)
    for start in ("", f"image;caption;log_prob;{[*TABLE_COLUMNS][-1]}\n", path.read_text()):
        path.write_text(start)
        opened(path, overwrite=True)
    for start in (
        "image,caption\na.jpg,written by hand\n",
        f"image,caption,log_prob,{[*TABLE_COLUMNS][-1]},file\n",
        "\x89HDF",
    ):
        path.write_text(start)
        with pytest.raises(UsageError, match=r"expected a table of captions with their log_prob to replace"):
            opened(path, overwrite=True)


@pytest.mark.parametrize("image", ["a.jpg", 'a"b\\.jpg', "\udcff.jpg"])
def test_only_captions_are_replaced_by_captions(image: str, tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    opened(path).finish()
    for _ in range(2):
        file = opened(path, overwrite=True)
        file.write(Caption(image, 'a "café"', -1.0, [], None, []))
        file.finish()
    with pytest.raises(UsageError, match="exists already"):
        opened(path)
    for other in ("[]", '{"image": "a.jpg", "caption": "a dog"}\n', "image,caption,log_prob\n"):
        path.write_text(other)
        with pytest.raises(UsageError, match="expected JSON lines of captions with their log_prob to replace"):
            opened(path, overwrite=True)
