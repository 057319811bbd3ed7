"""Files of captions: tables, JSON lines, and sidecars beside photographs; existing files are kept."""

import csv
import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from captioner.captioning.caption import MARKS, Caption
from captioner.captioning.output_files import FILES, is_own_xmp, open_sink, to_xmp, unescape_cell
from captioner.decode.word_regression import Keyword
from captioner.errors import CaptionerError, UsageError


def caption_of(path: Path) -> Caption:
    return Caption(str(path), "a café 猫", -1.0, [], None, [], keywords=[Keyword("猫", 0.9)])


CELL = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(st.sampled_from(list("=+-@\uff1d'\"ab ,;\t\r\n"))),
)


@settings(deadline=None)
@given(image=CELL, text=CELL)
@example("=cmd|' /C calc'!A0.jpg", "'=1+1")
@example("a.jpg;=1+1", "\t=1+1")
def test_no_cell_of_a_table_is_a_formula_and_all_are_restored(image: str, text: str) -> None:
    caption = Caption(image, text, -1.63456, [], None, [])
    written = FILES[".csv"].entry(caption)
    (row,) = csv.reader(io.StringIO(written, newline=""), strict=True)
    assert row[2] == "-1.6346", "a number, without quotes"
    assert written.endswith(',-1.6346,"","","","",""\r\n')
    words = [Keyword("dog", 0.8), Keyword("red ball", 0.31)]
    numbers = caption._replace(familiarity=42.468, similarity=0.12341, keywords=words)
    assert FILES[".csv"].entry(numbers).endswith(',42.5,0.1234,"","dog, red ball",""\r\n')
    assert [unescape_cell(cell) for cell in row[:2]] == [image, text]
    for cell in row[:2]:
        assert not cell.startswith(("\t", "\r", "\n"))
        for separator in ";\t":
            assert not any(part.lstrip(" ").startswith(tuple("=+-@\uff1d")) for part in cell.split(separator))


@pytest.mark.parametrize("suffix", FILES)
def test_a_kind_of_file_is_recognized_by_its_start_alone(suffix: str, tmp_path: Path) -> None:
    own, other, sink = tmp_path / f"own{suffix}", tmp_path / f"other{suffix}", open_sink(tmp_path / f"own{suffix}")
    sink.write(caption_of(Path("a.jpg")))
    sink.finish()
    assert "a.jpg" in own.read_text("utf-8-sig")
    open_sink(own, overwrite=True)
    for text in ("# Title\n\nText\n", "image,caption\na.jpg,a dog\n", '{"image": "a.jpg", "caption": "a dog"}\n'):
        other.write_text(text)
        with pytest.raises(UsageError, match="expected"):
            open_sink(other, overwrite=True)


def test_a_table_of_captions_replaces_only_its_kind(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    table = open_sink(path)
    for name in ("é.png", "\udcff.png", "é.png"):
        table.write(Caption(name, "a café 猫", -1.0, [], None, []))
    assert table.finish() == ("", f"{path}: 2 captions written")
    assert (
        path.read_bytes()
        == (
            '\ufeff"image","caption","log_prob","familiarity","similarity","marks","keywords","labels"\r\n'
            '"é.png","a café 猫",-1.0,"","","","",""\r\n"\\udcff.png","a café 猫",-1.0,"","","","",""\r\n'
        ).encode()
    )
    with pytest.raises(UsageError, match=r"captions\.csv: exists already; .* --overwrite$"):
        open_sink(path)
    for start in ("", "image;caption;log_prob;more\n", path.read_text()):
        path.write_text(start)
        open_sink(path, overwrite=True)
    for start in ("image,caption\na.jpg,written by hand\n", "\x89HDF"):
        path.write_text(start)
        with pytest.raises(UsageError, match=r"expected a table of captions with their log_prob to replace"):
            open_sink(path, overwrite=True)


XMP = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
}
ANY = st.text(st.characters())


@settings(deadline=None)
@given(text=ANY, keywords=st.lists(ANY, max_size=3))
@example(text='a <b> & "c" ]]> \0\x1b[31m\ud800\ufffe %s d', keywords=["%s", "</rdf:li>"])
def test_xmp_is_well_formed_and_has_the_texts(text: str, keywords: list[str], tmp_path_factory: Any) -> None:
    content = to_xmp(text, keywords).encode()
    root = ElementTree.fromstring(content)
    assert root.find("rdf:RDF/rdf:Description", XMP).get("{http://ns.adobe.com/xap/1.0/}CreatorTool") == "captioner"

    def shown(text: str) -> str:
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())

    texts = [item.text or "" for item in root.iterfind(".//rdf:Alt/rdf:li", XMP)]
    assert [shown(item) for item in texts] == [shown(text)]
    assert [shown(item.text or "") for item in root.iterfind(".//dc:subject/rdf:Bag/rdf:li", XMP)] == [
        *map(shown, keywords)
    ]
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in texts[0])
    path = tmp_path_factory.getbasetemp() / "own.xmp"
    path.write_bytes(content)
    assert is_own_xmp(path)


def test_an_xmp_sidecar_of_another_program_is_never_changed(tmp_path: Path) -> None:
    edited = to_xmp("a dog").replace("</rdf:Description>", "<darktable:history/></rdf:Description>")
    others = {"a.jpg": edited, "b.jpg": "", "c.jpg": to_xmp("a dog").replace("captioner", "digiKam-8")}
    for name, content in others.items():
        (tmp_path / f"{name}.xmp").write_text(content)
    (tmp_path / "d.jpg.xmp").write_text(to_xmp("a dog", ["dog"]))
    (tmp_path / "e.jpg.xmp").symlink_to("nowhere")
    foreign = "files of other programs, not changed: 4"
    for overwrite, reported, own in (
        (
            False,
            f"1 xmp sidecar exists already, not replaced; --overwrite replaces existing files; {foreign}",
            ["a dog", ["dog"]],
        ),
        (True, foreign, ["a café 猫", ["猫"]]),
    ):
        sidecars = open_sink(Path("xmp"), overwrite)
        for name in (*others, "d.jpg", "e.jpg", "f.png" if overwrite else "f.jpg"):
            sidecars.write(caption_of(tmp_path / name))
        assert sidecars.finish() == (reported, f"{1 + overwrite} xmp sidecar{'s' * overwrite} written")
        assert {name: (tmp_path / f"{name}.xmp").read_text() for name in others} == others
        assert (tmp_path / "d.jpg.xmp").read_text() == to_xmp(*own)
    assert (tmp_path / "f.jpg.xmp").read_text() == (tmp_path / "f.png.xmp").read_text() == to_xmp(*own)


def test_a_folder_without_permission_is_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path, content: bytes) -> None:
        if path.parent == tmp_path / "locked":
            raise PermissionError(errno.EACCES, "Permission denied")
        path.write_bytes(content)

    (tmp_path / "open").mkdir()
    monkeypatch.setattr("captioner.captioning.output_files.write_atomically", denied)  # root may write everywhere
    sidecars = open_sink(Path("txt"))
    with pytest.raises(
        CaptionerError, match=r"cannot write: Permission denied; no further sidecars are written to this "
    ):
        sidecars.write(caption_of(tmp_path / "locked/a.png"))
    for name in ("locked/b.png", "open/c.png"):
        sidecars.write(caption_of(tmp_path / name))
    assert len(os.listdir(tmp_path / "open")) == 1


@pytest.mark.parametrize("name", ["a", "a.b.jpg", ".hidden", "a\nb.png", f"{'a' * 251}.png"])
def test_a_sidecar_has_the_name_of_the_photograph(name: str, tmp_path: Path) -> None:
    open_sink(Path("txt")).write(caption_of(tmp_path / name))
    written = (tmp_path / name).with_suffix(".txt")
    assert os.listdir(tmp_path) == [written.name]
    assert written.read_text(encoding="utf-8") == "a café 猫\n"


def test_two_photographs_cannot_share_a_sidecar(tmp_path: Path) -> None:
    sidecars = open_sink(Path("txt"))
    sidecars.write(caption_of(tmp_path / "a.png"))
    sidecars.write(caption_of(tmp_path / "." / "a.png"))
    (tmp_path / "again").symlink_to(tmp_path)
    sidecars.write(caption_of(tmp_path / "again" / "a.png"))
    with pytest.raises(CaptionerError, match=r"a\.txt: .*a\.png and .*a\.jpg have the same sidecar; "):
        sidecars.write(caption_of(tmp_path / "a.jpg")._replace(text="another"))
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "a café 猫\n"


def test_a_photograph_is_not_its_own_sidecar(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"the photograph")
    with pytest.raises(CaptionerError, match=r"a\.txt: is the photograph itself; rename it$"):
        open_sink(Path("txt"), overwrite=True).write(caption_of(path))
    assert path.read_bytes() == b"the photograph"


def test_an_unwritable_sidecar_is_reported(tmp_path: Path, files_of_at_most: Callable[[int], Any]) -> None:
    with files_of_at_most(3), pytest.raises(CaptionerError, match=r"a\.txt: cannot write: File too large$"):
        open_sink(Path("txt")).write(caption_of(tmp_path / "a.png"))
    assert os.listdir(tmp_path) == []


def test_temporary_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    ended, running = 999_999_999, os.getpid()
    kept = {f".b.txt.{ended}.tmp", f".a.caption.{ended}.tmp", f".a.txt.{running}0.tmp~", f".a.png.{ended}.tmp"}
    for name in {"a.txt", f".a.txt.{ended}.tmp", *kept}:
        (tmp_path / name).touch()
    open_sink(Path("txt")).write(caption_of(tmp_path / "a.png"))
    assert set(os.listdir(tmp_path)) == {"a.txt", *kept}


def test_a_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed, listdir = [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: listed.append(folder) or listdir(folder))
    sidecars = open_sink(Path("txt"))
    for name in ("a.png", "b.png", "sub/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        sidecars.write(caption_of(tmp_path / name))
    assert listed == [tmp_path, tmp_path / "sub"]


def test_an_uncertain_caption_has_no_sidecar(tmp_path: Path) -> None:
    sidecars = open_sink(Path("txt"), overwrite=True)
    (tmp_path / "d.txt").write_text("a dog\n")
    for name, marks in (("a", [*MARKS]), ("b", ["outside the training domain"]), ("c", []), ("d", [*MARKS])):
        sidecars.write(caption_of(tmp_path / f"{name}.jpg")._replace(marks=marks))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.txt", "c.txt", "d.txt"]
    assert (tmp_path / "d.txt").read_text() == "a dog\n"
    message = "no txt sidecar for 2 uncertain captions (-o decode.uncertain_below=0 writes all)"
    assert sidecars.finish() == ("", f"2 txt sidecars written, {message}, 1 of these have one from before, not changed")


def test_a_text_sidecar_replaces_text_alone(tmp_path: Path) -> None:
    for name, content in {"a.txt": b"\xff\xd8\xff a photograph", "b.txt": b"notes"}.items():
        (tmp_path / name).write_bytes(content)
    sidecars = open_sink(Path("txt"), overwrite=True)
    for name in ("a.jpg", "b.jpg"):
        sidecars.write(caption_of(tmp_path / name))
    assert sidecars.finish() == ("files of other programs, not changed: 1", "1 txt sidecar written")
    assert (tmp_path / "a.txt").read_bytes() == b"\xff\xd8\xff a photograph"
    assert (tmp_path / "b.txt").read_text() != "notes"


@pytest.mark.parametrize("image", ["a.jpg", 'a"b\\.jpg', "\udcff.jpg"])
def test_only_captions_are_replaced_by_captions(image: str, tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    open_sink(path).finish()
    for _ in range(2):
        file = open_sink(path, overwrite=True)
        file.write(Caption(image, 'a "café"', -1.0, [], None, []))
        file.finish()
    with pytest.raises(UsageError, match="exists already"):
        open_sink(path)
    for other in ("[]", '{"image": "a.jpg", "caption": "a dog"}\n', "image,caption,log_prob\n"):
        path.write_text(other)
        with pytest.raises(UsageError, match="expected JSON lines of captions with their log_prob to replace"):
            open_sink(path, overwrite=True)
