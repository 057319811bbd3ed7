"""Metadata for photo managers: sidecars, those of other programs, and what the real exiftool reads and merges."""

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pages import ROOT, page_commands
from PIL import Image

from captioner.captioning.caption import MARKS, UNCERTAIN, Caption
from captioner.data.table_cells import Description
from captioner.errors import CaptionerError
from captioner.photos.album import Album
from captioner.photos.metadata import Sidecars, exiftool_table, is_exiftool_table, is_own_xmp, to_xmp

NEW = Description("a café 猫", ["猫"])
NAMESPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
}
LISTS = ["dc:subject/rdf:Bag", "digiKam:TagsList/rdf:Seq", "lr:hierarchicalSubject/rdf:Bag"]
ANY = st.text(st.characters())


@settings(deadline=None)
@given(text=ANY, keywords=st.lists(ANY, max_size=3))
@example(text='a <b> & "c" ]]> \0\x1b[31m\ud800\ufffe %(keywords)s d', keywords=["%s", "</rdf:li>"])
@example(text="", keywords=[])
def test_xmp_is_well_formed_and_has_the_texts(text: str, keywords: list[str], tmp_path_factory: Any) -> None:
    content = to_xmp(text, keywords).encode()
    root = ElementTree.fromstring(content)
    description = root.find("rdf:RDF/rdf:Description", NAMESPACES)
    assert description.get("{http://ns.adobe.com/xap/1.0/}CreatorTool") == "captioner"

    def shown(text: str) -> str:
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())

    texts = [item.text or "" for item in description.iterfind("dc:description/rdf:Alt/rdf:li", NAMESPACES)]
    assert "".join(map(shown, texts)) == shown(text)
    assert len(texts) <= 1
    for path in LISTS:
        words = [item.text for item in description.iterfind(f"{path}/rdf:li", NAMESPACES)]
        assert all(words)
        assert [*filter(None, map(shown, words))] == [*filter(None, map(shown, keywords))]
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in "".join(texts))
    path = tmp_path_factory.getbasetemp() / "own.xmp"
    path.write_bytes(content)
    assert is_own_xmp(path)


OWN = {
    "d.jpg": to_xmp("a dog", ["dog", "cat"]),
    "e.jpg": to_xmp("", ["dog"]),
    "f.jpg": to_xmp("a dog"),
}
FOREIGN = {
    "a.jpg": to_xmp("a dog").replace("</rdf:Description>", "<darktable:history/></rdf:Description>"),
    "b.jpg": "",
    "c.jpg": to_xmp("a dog").replace("captioner", "digiKam-8"),
}


def test_an_xmp_sidecar_of_another_program_is_never_changed(tmp_path: Path) -> None:
    for name, content in (FOREIGN | OWN).items():
        (tmp_path / f"{name}.xmp").write_text(content)
    (tmp_path / "g.jpg.xmp").symlink_to("nowhere")
    photos = [tmp_path / name for name in (*FOREIGN, *OWN, "g.jpg", "h.jpg", "h.png")]
    named = ", ".join(f"{photo}.xmp" for photo in photos[:3])
    foreign = f"files of other programs, not changed: 4 ({named}, ...); exiftool adds captions and keywords to them: "
    existing = "3 xmp sidecars exist already, not replaced; "
    for overwrite, lacking, reported in (
        (False, ["h.jpg", "h.png"], f"{existing}{foreign}--write exiftool.csv"),
        (True, [*OWN, "h.jpg", "h.png"], f"{foreign}--write exiftool.csv"),
    ):
        sidecars = Sidecars("xmp", overwrite)
        assert [photo.name for photo in photos if sidecars.lacks(photo)] == lacking
        for photo in photos:
            sidecars.write(photo, NEW)
            assert not sidecars.lacks(photo)
        assert sidecars.finish() == (reported, f"{len(lacking)} xmp sidecars written")
        for name, content in (FOREIGN | OWN).items():
            assert (tmp_path / f"{name}.xmp").read_text() == (to_xmp(*NEW[:2]) if name in lacking else content)


def test_a_corrected_caption_replaces_the_one_of_captioner(tmp_path: Path) -> None:
    for name, content in (FOREIGN | OWN).items():
        (tmp_path / f"{name}.xmp").write_text(content)
    (tmp_path / "same.jpg.xmp").write_text(to_xmp(*NEW[:2]))
    time = (tmp_path / "same.jpg.xmp").stat().st_mtime_ns
    sidecars = Sidecars("xmp")
    for name in (*FOREIGN, *OWN, "same.jpg", "new.jpg"):
        sidecars.lacks(tmp_path / name)
        sidecars.write(tmp_path / name, NEW._replace(marks=[UNCERTAIN]), corrected=True)
    for name, content in FOREIGN.items():
        assert (tmp_path / f"{name}.xmp").read_text() == content
    for name in (*OWN, "same.jpg", "new.jpg"):
        assert (tmp_path / f"{name}.xmp").read_text() == to_xmp(*NEW[:2])
    assert (tmp_path / "same.jpg.xmp").stat().st_mtime_ns == time, "not written again"
    kept, written = sidecars.finish()
    assert kept.startswith("1 xmp sidecar exists already, not replaced; ")
    assert written == "4 xmp sidecars written"


def test_an_uncertain_caption_is_in_no_sidecar_but_its_keywords_are(tmp_path: Path) -> None:
    sidecars = Sidecars("xmp")
    for name, marks in (("a", [*MARKS]), ("b", ["outside the training domain"]), ("d", [*MARKS])):
        photo = tmp_path / f"{name}.jpg"
        sidecars.write(photo, NEW._replace(marks=marks))
        assert not Sidecars("xmp").lacks(photo), "not captioned again"
        expected = to_xmp("" if UNCERTAIN in marks else NEW.caption, NEW.keywords)
        assert (tmp_path / f"{name}.jpg.xmp").read_text() == expected
    message = "2 of them with keywords alone, as the caption is uncertain (-o decode.uncertain_below=0 writes all)"
    assert sidecars.finish() == ("", f"3 xmp sidecars written, {message}")


def test_a_file_that_appears_while_a_sidecar_is_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sidecar = tmp_path / "a.jpg.xmp"
    monkeypatch.setattr("captioner.files.atomic._sync", lambda path: sidecar.write_text("mine"))
    with pytest.raises(CaptionerError, match=r"a file was created there during the run, and is not replaced$"):
        Sidecars("xmp").write(tmp_path / "a.jpg", NEW)
    assert sidecar.read_text() == "mine"
    assert os.listdir(tmp_path) == [sidecar.name]


def test_a_folder_without_permission_is_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path, content: bytes, *options: object, **others: object) -> None:
        if path.parent == tmp_path / "locked":
            raise PermissionError(errno.EACCES, "Permission denied")
        path.write_bytes(content)

    (tmp_path / "open").mkdir()
    monkeypatch.setattr("captioner.photos.metadata.write_atomically", denied)  # root may write everywhere
    sidecars = Sidecars("lightroom")
    with pytest.raises(
        CaptionerError, match=r"cannot write: Permission denied; no further sidecars are written to this "
    ):
        sidecars.write(tmp_path / "locked/a.png", NEW)
    assert not sidecars.lacks(tmp_path / "locked/b.png")
    for name in ("locked/b.png", "open/c.png"):
        sidecars.write(tmp_path / name, NEW)
    assert len(os.listdir(tmp_path / "open")) == 1


@pytest.mark.parametrize("name", ["a", "a.b.jpg", ".hidden", "a\nb.png", f"{'a' * 251}.png"])
def test_a_sidecar_has_the_name_of_the_photograph(name: str, tmp_path: Path) -> None:
    Sidecars("lightroom").write(tmp_path / name, NEW)
    written = (tmp_path / name).with_suffix(".xmp")
    assert os.listdir(tmp_path) == [written.name]
    assert written.read_text(encoding="utf-8") == to_xmp(*NEW[:2])


def test_two_photographs_cannot_share_a_sidecar(tmp_path: Path) -> None:
    sidecars = Sidecars("lightroom")
    sidecars.write(tmp_path / "a.png", NEW)
    sidecars.write(tmp_path / "." / "a.png", NEW)
    (tmp_path / "again").symlink_to(tmp_path)
    sidecars.write(tmp_path / "again" / "a.png", NEW)
    for claim in (sidecars.lacks, lambda photo: sidecars.write(photo, NEW._replace(caption="another"))):
        with pytest.raises(CaptionerError, match=r"a\.xmp: .*a\.png and .*a\.jpg have the same sidecar; "):
            claim(tmp_path / "a.jpg")
    assert (tmp_path / "a.xmp").read_text(encoding="utf-8") == to_xmp(*NEW[:2])
    assert sidecars.finish() == ("", "1 lightroom sidecar written")


def test_a_photograph_is_not_its_own_sidecar(tmp_path: Path) -> None:
    path = tmp_path / "a.xmp"
    path.write_bytes(b"the photograph")
    with pytest.raises(CaptionerError, match=r"a\.xmp: is the photograph itself; rename it$"):
        Sidecars("lightroom", overwrite=True).write(path, NEW)
    assert path.read_bytes() == b"the photograph"


def test_an_unwritable_sidecar_is_reported(tmp_path: Path, files_of_at_most: Callable[[int], Any]) -> None:
    with files_of_at_most(3), pytest.raises(CaptionerError, match=r"a\.xmp: cannot write: File too large$"):
        Sidecars("lightroom").write(tmp_path / "a.png", NEW)
    assert os.listdir(tmp_path) == []


def test_temporary_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    ended, running = 999_999_999, os.getpid()
    kept = {f".b.xmp.{ended}.tmp", f".a.caption.{ended}.tmp", f".a.xmp.{running}0.tmp~", f".a.png.{ended}.tmp"}
    for name in {"a.xmp", f".a.xmp.{ended}.tmp", *kept}:
        (tmp_path / name).touch()
    assert not Sidecars("lightroom").lacks(tmp_path / "a.png")
    assert set(os.listdir(tmp_path)) == {"a.xmp", *kept}


def test_a_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed, listdir = [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: listed.append(folder) or listdir(folder))
    sidecars = Sidecars("lightroom")
    for name in ("a.png", "b.png", "sub/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        sidecars.write(tmp_path / name, NEW)
    assert listed == [tmp_path, tmp_path / "sub"]


needs_exiftool = pytest.mark.skipif(not shutil.which("exiftool"), reason="exiftool is not installed")
FIELDS = ["Description", "Subject", "TagsList", "HierarchicalSubject"]
LISTED = ["Subject", "Creator"]
TEXT, KEYWORDS = 'un café & <b>"une" 🐕', ["café", "red ball", "<&>🐕"]


def exiftool(*arguments: str) -> str:
    return subprocess.run(["exiftool", *arguments], check=True, capture_output=True).stdout.decode(errors="replace")


def fields_of(*files: str) -> list[dict[str, Any]]:
    """Return the XMP of files, as exiftool reads it, without what does not differ."""
    read = json.loads(exiftool("-j", "-struct", "-XMP:all", *(f"./{file}" for file in files)))
    return [{name: value for name, value in tags.items() if name not in ("SourceFile", "XMPToolkit")} for tags in read]


@needs_exiftool
def test_exiftool_reads_every_field_of_a_sidecar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Sidecars("xmp").write(Path("a.jpg"), Description(TEXT, KEYWORDS))
    Sidecars("lightroom").write(Path("a.jpg"), Description(TEXT, KEYWORDS, [UNCERTAIN]))
    expected = dict.fromkeys(FIELDS[1:], KEYWORDS) | {"CreatorTool": "captioner"}
    assert fields_of("a.jpg.xmp", "a.xmp") == [expected | {"Description": TEXT}, expected]
    assert "warning" not in exiftool("-validate", "-warning", "-a", "a.jpg.xmp", "a.xmp").lower()


NAMES = ["b é🐕.jpg", "=e,\"f'.jpg", "back\\slash.jpg", "line\nbreak.jpg", "sub/g.png"]


@pytest.mark.slow
@needs_exiftool
def test_exiftool_merges_captions_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command of the page, into sidecars and into photographs, twice."""
    monkeypatch.chdir(tmp_path)
    Path("sub").mkdir()
    broken = os.fsdecode(b"\xff.jpg")
    for name in ("a.jpg", "c.jpg", "d.jpg", "d.png", "exif.jpg", "iptc.jpg", "other.jpg", broken, *NAMES):
        Image.new("RGB", (8, 8)).save(name)
    own = {"Subject": ["Paris, France", "red ball"], "Description": "my own", "Creator": ["Ann"], "Rating": 4}
    options = [f"-XMP:{name}={item}" for name in own for item in (own[name] if name in LISTED else [own[name]])]
    exiftool("-overwrite_original", *options, "a.jpg", "other.jpg")
    for sidecar in ("a.jpg.xmp", "c.xmp", "d.xmp"):
        exiftool("-o", sidecar, *options)
    exiftool("-overwrite_original", "-XMP:Description=", "c.xmp")
    exiftool("-overwrite_original", "-EXIF:ImageDescription=my own", "exif.jpg")
    exiftool("-overwrite_original", "-IPTC:Caption-Abstract=my own", "iptc.jpg")
    Path("sub/g.xmp").write_text(to_xmp("corrected later", KEYWORDS))
    others = {name: Path(name).read_bytes() for name in ("other.jpg", "d.xmp", "sub/g.xmp")}
    marks = {"c.jpg": [], "sub/g.png": [UNCERTAIN]}
    names = ["a.jpg", "c.jpg", "d.jpg", "d.png", "exif.jpg", "iptc.jpg", broken, *NAMES]
    table = Path("exiftool.csv")
    table.write_bytes(exiftool_table((name, Description(TEXT, KEYWORDS, marks.get(name, ()))) for name in names))
    assert is_exiftool_table(table)
    (command,) = (words for words in page_commands(ROOT / "docs/photo-managers.md") if words[0] == "exiftool")
    photographs = [word.replace("-ext", "--ext") for word in command[1:]]
    keywords = [*own["Subject"], "café", "<&>🐕"]
    merged = own | {"Subject": keywords, "TagsList": KEYWORDS, "HierarchicalSubject": KEYWORDS}
    new = dict.fromkeys(FIELDS[1:], KEYWORDS)
    for _ in range(2):
        exiftool(*command[1:])
        assert fields_of("a.jpg.xmp", "c.xmp", "a.jpg") == [merged, merged | {"Description": TEXT}, own]
    for _ in range(2):
        exiftool(*photographs)
        assert fields_of("a.jpg") == [merged]
        assert fields_of(*NAMES[:-1], "c.jpg") == [new | {"Description": TEXT}] * len(NAMES)
        assert fields_of("sub/g.png", "exif.jpg", "iptc.jpg") == [new] * 3, "uncertain, or with another description"
        assert fields_of("a.jpg.xmp") == [merged]
    assert b"red ball" in Path(broken).read_bytes()
    assert {name: Path(name).read_bytes() for name in others} == others, "no row, of two photographs, or of captioner"


def test_a_table_of_another_program_is_not_one_of_captioner(tmp_path: Path) -> None:
    for content in ("", "SourceFile,XMP-dc:Description\r\n", "image,caption\n"):
        (tmp_path / "exiftool.csv").write_text(content)
        assert not is_exiftool_table(tmp_path / "exiftool.csv")
    assert not is_exiftool_table(tmp_path / "absent.csv")


def test_a_photograph_named_twice_has_one_sidecar(tmp_path: Path) -> None:
    """By its folder and a subfolder, or by a link to its folder: its own sidecar is not one that exists already."""
    photo = tmp_path / "x" / "sub" / "a.jpg"
    photo.parent.mkdir(parents=True)
    (tmp_path / "link").symlink_to(photo.parent)
    album = Album([sidecars := Sidecars("xmp")])
    assert album.select([photo, tmp_path / "x" / ".." / "x" / "sub" / "a.jpg", tmp_path / "link" / "a.jpg"]) == [photo]
    assert list(album.write(photo, Caption("", "a dog", -1.0, [], None, []))) == []
    assert sidecars.finish() == ("", "1 xmp sidecar written")
