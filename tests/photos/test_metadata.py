"""Metadata for photo managers: sidecars, those of other programs, and what the real exiftool reads and merges."""

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pages import ROOT, page_commands
from PIL import Image

from captioner.captioning.caption import MARKS, UNCERTAIN, Caption
from captioner.decode.word_regression import Keyword
from captioner.photos.album import Album, status_of
from captioner.photos.metadata import SIDECARS, is_exiftool_table, to_xmp, write_exiftool_table, write_sidecars

TEXT, WORDS = "a café 猫", ["猫"]
NAMESPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
}
LISTS = ["dc:subject/rdf:Bag", "digiKam:TagsList/rdf:Seq", "lr:hierarchicalSubject/rdf:Bag"]
ANY = st.text(st.characters())


@given(text=ANY, keywords=st.lists(ANY, max_size=3))
@example(text='a <b> & "c" ]]> \0\x1b[31m\ud800\ufffe %(keywords)s d', keywords=["%s", "</rdf:li>"])
@example(text="", keywords=[])
def test_xmp_is_well_formed_and_has_the_texts(text: str, keywords: list[str]) -> None:
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


@pytest.fixture
def album() -> Iterator[Album]:
    with Album(None) as opened:
        yield opened


def add(album: Album, path: Path, text: str = TEXT, words: Sequence[str] = WORDS, marks: Sequence[str] = ()) -> Path:
    """Add a photograph, whose file is its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.fsencode(path.name))
    keywords = [Keyword(word, 0.5) for word in words]
    digest = blake2b(os.fsencode(path), digest_size=16).hexdigest()
    caption = Caption(str(path), text, -1.0, [], None, [], marks=marks, keywords=keywords, digest=digest)
    album.locate(path, bytes.fromhex(digest), status_of(path), caption, "m")
    return path


def correct(album: Album, path: Path, text: str, words: Sequence[str] = ()) -> None:
    (entry,) = album.entries([path])
    album.correct(entry.id, (text, words), "page")


def write(album: Album, name: str, *photos: Path) -> list[str]:
    """Write sidecars; return what was reported."""
    return [str(each) for each in write_sidecars(name, album, photos)]


FOREIGN = to_xmp("a dog").replace("captioner", "digiKam-8")


def test_a_sidecar_of_another_program_is_never_changed(album: Album, tmp_path: Path) -> None:
    photos = [add(album, tmp_path / f"{name}.jpg") for name in "abcde"]
    (tmp_path / "a.jpg.xmp").write_text(FOREIGN)
    (tmp_path / "b.jpg.xmp").touch()
    (tmp_path / "c.jpg.xmp").symlink_to("nowhere")
    named = ", ".join(f"{photo}.xmp" for photo in photos[:3])
    for _ in range(2):
        kept, written = write(album, "xmp", *photos)
        assert kept.startswith(f"files that captioner did not write, or that were changed since, kept: 3 ({named})")
        assert kept.endswith(
            "exiftool adds captions and keywords to them: --write exiftool.csv; delete one to have it written anew"
        )
        assert written == "2 xmp sidecars"
        assert (tmp_path / "a.jpg.xmp").read_text() == FOREIGN
        assert (tmp_path / "d.jpg.xmp").read_text() == to_xmp(TEXT, WORDS)


def test_a_sidecar_follows_a_correction_unless_a_person_changed_it(album: Album, tmp_path: Path) -> None:
    photos = [add(album, tmp_path / f"{name}.jpg") for name in "ab"]
    write(album, "xmp", *photos)
    time = (tmp_path / "b.jpg.xmp").stat().st_mtime_ns
    correct(album, photos[0], "my dog", ["pug"])
    assert write(album, "xmp", *photos) == ["2 xmp sidecars"]
    assert (tmp_path / "a.jpg.xmp").read_text() == to_xmp("my dog", ["pug"])
    assert (tmp_path / "b.jpg.xmp").stat().st_mtime_ns == time, "not written again"
    changed = to_xmp("typed in an editor", ["pug"])
    (tmp_path / "a.jpg.xmp").write_text(changed)
    correct(album, photos[0], "my other dog")
    assert "kept: 1" in write(album, "xmp", *photos)[0]
    assert (tmp_path / "a.jpg.xmp").read_text() == changed


def test_an_uncertain_caption_is_in_no_sidecar_but_its_keywords_are(album: Album, tmp_path: Path) -> None:
    cases = {"a": [*MARKS], "b": ["outside the training domain"], "c": [*MARKS], "d": [UNCERTAIN]}
    photos = [add(album, tmp_path / f"{name}.jpg", marks=marks) for name, marks in cases.items()]
    correct(album, photos[3], TEXT, WORDS)
    message = "4 xmp sidecars; 2 of them with keywords alone, as the caption is uncertain"
    assert write(album, "xmp", *photos) == [message]
    for name in cases:
        expected = to_xmp("" if name in "ac" else TEXT, WORDS)
        assert (tmp_path / f"{name}.jpg.xmp").read_text() == expected


def test_a_file_that_appears_while_a_sidecar_is_written_stays(
    album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, sidecar = add(album, tmp_path / "a.jpg"), tmp_path / "a.jpg.xmp"
    monkeypatch.setattr("captioner.files.atomic._sync", lambda path: sidecar.write_text("mine"))
    error, written = write(album, "xmp", photo)
    assert error.endswith("a file was created there during the run, and is not replaced")
    assert (written, sidecar.read_text()) == ("0 xmp sidecars", "mine")
    assert sorted(os.listdir(tmp_path)) == ["a.jpg", sidecar.name]


def test_a_folder_without_permission_is_reported_once(
    album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path, content: bytes, *options: object, **others: object) -> None:
        if path.parent == tmp_path / "locked":
            raise PermissionError(errno.EACCES, "Permission denied")
        path.write_bytes(content)

    photos = [add(album, tmp_path / name) for name in ("locked/a.png", "locked/b.png", "open/c.png")]
    monkeypatch.setattr("captioner.photos.metadata.write_atomically", denied)  # root may write everywhere
    error, written = write(album, "lightroom", *photos)
    assert error.endswith("cannot write: Permission denied; no further sidecars are written to this folder")
    assert written == "1 lightroom sidecar"


SIDECAR_OF = {"xmp": "a.b.jpg.xmp", "lightroom": "a.b.xmp"}


def test_the_name_of_a_sidecar() -> None:
    assert {name: path_of(Path("a.b.jpg")).name for name, path_of in SIDECARS.items()} == SIDECAR_OF


@pytest.mark.parametrize("name", ["a", "a.b.jpg", ".hidden", "a\nb.png", f"{'a' * 251}.png"])
def test_a_sidecar_has_the_name_of_the_photograph(name: str, album: Album, tmp_path: Path) -> None:
    photo = add(album, tmp_path / name)
    write(album, "lightroom", photo)
    assert photo.with_suffix(".xmp").read_text(encoding="utf-8") == to_xmp(TEXT, WORDS)


def test_two_photographs_cannot_share_a_sidecar(album: Album, tmp_path: Path) -> None:
    photos = [add(album, tmp_path / name) for name in ("a.png", "a.jpg", "b.xmp")]
    shared, itself, written = write(album, "lightroom", *photos)
    assert shared == f"{tmp_path}/a.xmp: is the sidecar of {photos[0]} too; rename {photos[1]}"
    assert itself == f"{photos[2]}: is the photograph itself; rename {photos[2]}"
    assert (written, photos[2].read_bytes()) == ("1 lightroom sidecar", b"b.xmp")


def test_an_unwritable_sidecar_is_reported(
    album: Album, tmp_path: Path, files_of_at_most: Callable[[int], Any]
) -> None:
    photo = add(album, tmp_path / "a.png")
    with files_of_at_most(3):
        error, _ = write(album, "lightroom", photo)
    assert error.endswith("a.xmp: cannot write: File too large")
    assert os.listdir(tmp_path) == ["a.png"]


def test_temporary_files_of_killed_processes_are_removed(
    album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [add(album, tmp_path / name) for name in ("a.png", "c.png")]
    ended, running = 999_999_999, os.getpid()
    kept = {f".b.xmp.{ended}.tmp", f".a.caption.{ended}.tmp", f".a.xmp.{running}0.tmp~", f".a.png.{ended}.tmp"}
    for name in {f".a.xmp.{ended}.tmp", *kept}:
        (tmp_path / name).touch()
    listed, listdir = [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: listed.append(folder) or listdir(folder))
    write(album, "lightroom", *photos)
    assert listed == [tmp_path], "a folder is listed once"
    assert set(listdir(tmp_path)) == {"a.png", "a.xmp", "c.png", "c.xmp", *kept}


needs_exiftool = pytest.mark.skipif(not shutil.which("exiftool"), reason="exiftool is not installed")
FIELDS = ["Description", "Subject", "TagsList", "HierarchicalSubject"]
LISTED = ["Subject", "Creator"]
MERGED, KEYWORDS = 'un café & <b>"une" 🐕', ["café", "red ball", "<&>🐕"]


def exiftool(*arguments: str) -> str:
    return subprocess.run(["exiftool", *arguments], check=True, capture_output=True).stdout.decode(errors="replace")


def fields_of(*files: str) -> list[dict[str, Any]]:
    """Return the XMP of files, as exiftool reads it, without what does not differ."""
    read = json.loads(exiftool("-j", "-struct", "-XMP:all", *(f"./{file}" for file in files)))
    return [{name: value for name, value in tags.items() if name not in ("SourceFile", "XMPToolkit")} for tags in read]


@needs_exiftool
def test_exiftool_reads_every_field_of_a_sidecar(album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(album, "xmp", add(album, Path("a.jpg"), MERGED, KEYWORDS))
    write(album, "lightroom", add(album, Path("b.jpg"), MERGED, KEYWORDS, [UNCERTAIN]))
    expected = dict.fromkeys(FIELDS[1:], KEYWORDS) | {"CreatorTool": "captioner"}
    assert fields_of("a.jpg.xmp", "b.xmp") == [expected | {"Description": MERGED}, expected]
    assert "warning" not in exiftool("-validate", "-warning", "-a", "a.jpg.xmp", "b.xmp").lower()


NAMES = ["b é🐕.jpg", "=e,\"f'.jpg", "back\\slash.jpg", "line\nbreak.jpg", "sub/g.png"]


@pytest.mark.slow
@needs_exiftool
def test_exiftool_merges_captions_and_nothing_is_lost(
    album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    for name in names:
        content = Path(name).read_bytes()
        add(album, Path(name), MERGED, KEYWORDS, marks.get(name, ())).write_bytes(content)
    write_exiftool_table(table, album.entries(map(Path, names)))
    assert is_exiftool_table(table)
    (command,) = (words for words in page_commands(ROOT / "docs/caption-photos.md") if words[0] == "exiftool")
    photographs = [word.replace("-ext", "--ext") for word in command[1:]]
    keywords = [*own["Subject"], "café", "<&>🐕"]
    merged = own | {"Subject": keywords, "TagsList": KEYWORDS, "HierarchicalSubject": KEYWORDS}
    new = dict.fromkeys(FIELDS[1:], KEYWORDS)
    for _ in range(2):
        exiftool(*command[1:])
        assert fields_of("a.jpg.xmp", "c.xmp", "a.jpg") == [merged, merged | {"Description": MERGED}, own]
    for _ in range(2):
        exiftool(*photographs)
        assert fields_of("a.jpg") == [merged]
        assert fields_of(*NAMES[:-1], "c.jpg") == [new | {"Description": MERGED}] * len(NAMES)
        assert fields_of("sub/g.png", "exif.jpg", "iptc.jpg") == [new] * 3, "uncertain, or with another description"
        assert fields_of("a.jpg.xmp") == [merged]
    assert b"red ball" in Path(broken).read_bytes()
    assert {name: Path(name).read_bytes() for name in others} == others, "no row, of two photographs, or of captioner"


def test_a_table_of_another_program_is_not_one_of_captioner(tmp_path: Path) -> None:
    for content in ("", "SourceFile,XMP-dc:Description\r\n", "image,caption\n"):
        (tmp_path / "exiftool.csv").write_text(content)
        assert not is_exiftool_table(tmp_path / "exiftool.csv")
    assert not is_exiftool_table(tmp_path / "absent.csv")
