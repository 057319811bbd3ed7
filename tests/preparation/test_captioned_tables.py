"""`captioner prepare` of the tables of `captioner caption`, corrected by a person, also in LibreOffice."""

import csv
import io
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from captioner.captioning.caption import Candidate, Caption
from captioner.data.prepared import prepared
from captioner.data.table_cells import BY_PERSON, GENERATED, NEEDED
from captioner.decode.word_regression import Keyword
from captioner.photos.album import Album, status_of
from captioner.photos.exports import read_table, write_table

pytestmark = pytest.mark.filterwarnings("ignore:features are stored in float32")  # so few photographs hardly differ

WRITTEN = {
    "001.png": "a dog",
    "002.png": '=1+1; @the dog\'s "ball", 0.83',
    "003.png": "-true",
    "004.png": "50",
    "005.png": "a tree",
    "new\nline.png": "a clock at 12:30",
    "007.png": "",
}
"""Captions that a spreadsheet may take for something else."""
OWN = '=1 Möwe am Strand, „Anna“ & "Bo"; 0,83'


@pytest.fixture(autouse=True)
def _here(album: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Photographs in `photos`, and beside it `t.csv`, as `captioner caption` writes it."""
    monkeypatch.chdir(tmp_path)
    album(Path("photos"), 8)
    Path("photos/captions.csv").unlink()
    Path("photos/006.png").rename("photos/new\nline.png")
    written, photos = Album(None), [Path("photos", name) for name in WRITTEN]
    for photo, (name, text) in zip(photos, WRITTEN.items(), strict=True):
        keywords = [Keyword("dog", 0.83), Keyword("0.83", 0.5), Keyword("true", 0.25)]
        caption = Caption(
            name, text, -1234.5678, [], None, [Candidate(text, -1.0)],
            familiarity=0.83, similarity=1e-4, keywords=keywords,
        )  # fmt: skip
        written.locate(photo, name.encode(), status_of(photo), caption, "m")
    write_table(written, read_table(Path("t.csv")), photos)
    written.close()


def rows_of(path: str, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(Path(path).read_text("utf-8-sig"), newline=""), delimiter=delimiter))


def write(path: str, rows: list[dict[str, str]], delimiter: str = ",", encoding: str = "utf-8") -> None:
    with open(path, "w", newline="", encoding=encoding) as file:
        table = csv.DictWriter(file, rows[0], delimiter=delimiter)
        table.writeheader()
        table.writerows(rows)


def correct(rows: list[dict[str, str]]) -> None:
    """Correct a caption, confirm one by its keywords, remove one, and add one by hand."""
    rows[0]["caption"] = OWN
    rows[5]["keywords"] += "; Uhr"
    rows[4]["caption"] = " "
    rows.append(dict.fromkeys(rows[0], "") | {"image": "photos/000.png", "caption": "von Hand"})


CORRECTED = {"photos/000.png": "von Hand", "photos/001.png": OWN, "photos/new\nline.png": "a clock at 12:30"}


def captions_of(cli: Callable[..., Any], *sources: str) -> tuple[Mapping[str, str], str]:
    """The captions of a data set of tables, and its summary."""
    options = ("--output", "o.h5", "--encoder", "scenes", "--val", "0", "--overwrite")
    done = cli("prepare", *sources, *options)
    assert done.code == 0, done.err
    split = prepared("o.h5").split("train")
    return dict(zip(split.image_ids, split.texts, strict=True)), done.out


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_only_the_rows_that_a_person_corrected_are_read(delimiter: str, cli: Callable[..., Any]) -> None:
    cli("prepare", "t.csv").failed(
        1, "t.csv: expected captions, got 7 that no person corrected; correct some captions first"
    )
    rows = rows_of("t.csv")
    write("t.csv", [{**rows[0], "caption": OWN}, *rows[1:]])
    one = cli("prepare", "t.csv")
    one.failed(1, "expected images for train in addition to 1 for val, got 1 in total; add images, or lower --val and ")
    assert one.err.endswith("to 0 for no such split; not counted: 6 rows as the model wrote them; correct more\n")
    correct(rows)
    write("t.csv", rows, delimiter, "utf-8-sig")
    captions, summary = captions_of(cli, "t.csv")
    assert captions == CORRECTED
    assert "  captions not corrected by a person: 4\n  captions removed by a person: 1\n" in summary
    Path("more.csv").write_text("image,caption\nphotos/003.png,ein Ball\n")
    assert captions_of(cli, "t.csv", "more.csv")[0] == {**CORRECTED, "photos/003.png": "ein Ball"}


def test_captions_that_were_confirmed_are_read(cli: Callable[..., Any]) -> None:
    first, second, *others = rows_of("t.csv")
    confirmed = [row | {"marks": mark} for row, mark in zip((first, second), BY_PERSON, strict=True)]
    write("t.csv", [*confirmed, *others])
    assert captions_of(cli, "t.csv")[0] == {f"photos/{name}": text for name, text in [*WRITTEN.items()][:2]}


def test_a_table_in_another_folder_than_its_photographs(cli: Callable[..., Any]) -> None:
    rows = rows_of("t.csv")
    correct(rows)
    Path("my tables").mkdir()
    write("my tables/t.csv", [{**row, "image": f"../{row['image']}"} for row in rows])
    table, found = "my tables/t.csv", "my tables: expected photographs, found none of 3, such as ../photos/"
    failed = cli("prepare", table, "--encoder", "scenes", "--val", "0")
    failed.failed(1, found)
    assert failed.err.endswith("; set their folder with --images photos\n")
    captions, summary = captions_of(cli, table, "--images", "photos")
    assert captions == {name.removeprefix("photos/"): text for name, text in CORRECTED.items()}
    assert "  captions not corrected by a person: 4\n  captions removed by a person: 1\n" in summary


@pytest.mark.parametrize(
    "deleted",
    [("keywords",), ("generated_caption",), ("generated_caption", "generated_keywords", "marks"), (*GENERATED, "id")],
)
def test_a_table_without_the_columns_of_corrections(deleted: Sequence[str], cli: Callable[..., Any]) -> None:
    """Else the captions of the model would count as those of a person."""
    rows = rows_of("t.csv")
    write("t.csv", [{k: v for k, v in row.items() if k not in deleted} for row in rows])
    lost = " and ".join(name for name in deleted if name in NEEDED)
    cli("prepare", "t.csv").failed(
        1, "t.csv: expected the columns keywords, generated_caption, generated_keywords of captioner, which show what "
        f"you corrected, got no {lost}; restore them, or to use all captions leave the last two empty"
    )  # fmt: skip
    write("t.csv", [row | {**dict.fromkeys(GENERATED, ""), "caption": "a dog"} for row in rows])
    assert [*captions_of(cli, "t.csv")[0]] == [f"photos/{name}" for name in WRITTEN], "also of escaped names"


@pytest.mark.skipif(shutil.which("soffice") is None, reason="needs LibreOffice Calc")
@pytest.mark.parametrize(("delimiter", "language"), [(",", "1033"), (";", "1031")])
def test_a_table_survives_libreoffice(delimiter: str, language: str, cli: Callable[..., Any], tmp_path: Path) -> None:
    token = f"{ord(delimiter)},34,76,1,,{language}"

    def convert(name: str, to: str, *options: str) -> None:
        home = f"-env:UserInstallation=file://{tmp_path}/home"
        command = ["soffice", home, "--headless", *options, "--convert-to", to, name]
        subprocess.run(command, check=True, capture_output=True, timeout=120)

    if delimiter == ";":
        write("t.csv", rows_of("t.csv"), delimiter)
    convert("t.csv", "fods", f"--infilter=CSV:{token}")
    sheet = Path("t.fods").read_text()
    typed = OWN.replace("&", "&amp;").replace('"', "&quot;")
    sheet, count = re.subn("<text:p>a dog</text:p>", f"<text:p>{typed}</text:p>", sheet)
    assert count == 1
    Path("t.fods").write_text(sheet)
    Path("t.csv").unlink()
    convert("t.fods", f"csv:Text - txt - csv (StarCalc):{token}")
    captions, summary = captions_of(cli, "t.csv")
    assert captions == {"photos/001.png": OWN}
    assert "  captions not corrected by a person: 6\n" in summary
