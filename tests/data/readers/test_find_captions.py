"""Caption files in a folder that is named in place of one."""

from pathlib import Path

import pytest

from captioner.data.readers import caption_files, caption_files_hint, read_captions
from captioner.errors import DataError

FILES = {
    "captions.csv": "image,caption\n",
    "b.tsv": "image\tcaption\n",
    "Flickr8k.token.txt": "a.jpg#0\tA dog .\n",
    "all.json": "[]",
    "notes.txt": "buy milk\n",
    "table.txt": "image;caption\n",
    "a.json": "no JSON",
    "photo.jpg": "",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "folder.csv").mkdir()
    return tmp_path


def test_caption_files_are_found_by_suffix_and_content(folder: Path) -> None:
    names = [Path(path).name for path in caption_files(folder)]
    assert names == ["captions.csv", "Flickr8k.token.txt", "all.json", "b.tsv", "table.txt"]


def test_one_file_is_suggested(tmp_path: Path) -> None:
    (tmp_path / "birds.csv").touch()
    assert caption_files_hint(tmp_path) == f"did you mean {tmp_path / 'birds.csv'}?"


def test_several_files_are_named(folder: Path) -> None:
    for number in range(3):
        (folder / f"{number}.csv").touch()
    hint = caption_files_hint(folder)
    assert hint.startswith(f"name one of its caption files: {folder / 'captions.csv'}, {folder / '0.csv'}, ")
    assert hint.endswith(" or 3 others")


def test_without_a_file_an_example_is_given(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        list(read_captions(tmp_path))
    assert str(caught.value) == (
        f"{tmp_path}: expected a caption file, got a folder; it has no caption file: write a table captions.csv with "
        "the first line image,caption and then one line per caption, such as dog.jpg,A dog runs"
    )


@pytest.mark.usefixtures("unreadable_shut")
def test_an_unreadable_folder_has_no_caption_file(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir()
    assert caption_files(tmp_path / "shut") == []
