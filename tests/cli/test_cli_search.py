"""captioner search: photographs are found by words, in tables of captions that people edit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioner.data.table_cells import Stamp, digest_of

ALBUM = {
    "a dog in the snow": {"dog": 0.9, "snow": 0.8, "a": 0.9, "in": 0.6, "the": 0.7},
    "a man on a beach": {"beach": 0.6, "man": 0.9, "dog": 0.05, "a": 0.9, "on": 0.9, "the": 0.8},
    "two dogs play": {"dogs": 0.9, "dog": 0.7, "beach": 0.4, "a": 0.5},
    "a street": {"street": 0.9, "a": 0.9, "on": 0.5, "the": 0.5, "dog": 0.049},
}


def line(image: str, caption: str, shares: Any, written: str | None = None) -> str:
    """Return a line for a photograph, whose caption a person may have `written` otherwise."""
    stamp = Stamp(9, "20261130T111800Z", "0" * 8, digest_of(caption), "0" * 8)
    record = {"image": image, "caption": caption if written is None else written, "keywords": [], "shares": shares}
    return json.dumps({**record, "file": str(stamp)}) + "\n"


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of four photographs in another folder than the current one."""
    monkeypatch.chdir(tmp_path)
    table = Path("tables", "album.jsonl")
    table.parent.mkdir()
    table.write_text("".join(line(f"../pics/{n}.jpg", *item) for n, item in enumerate(ALBUM.items())))
    return table


def test_photographs_are_ranked_and_only_those_that_a_word_fits_are_printed(
    cli: Callable[..., Any], album: Path
) -> None:
    found = cli("search", album, "dog", "on", "the", "beach").succeeded()
    assert found.out.splitlines() == [
        "pics/2.jpg\ttwo dogs play\tdog, beach",
        "pics/1.jpg\ta man on a beach\tbeach, dog",
        "pics/0.jpg\ta dog in the snow\tdog",
    ]
    assert (
        cli("search", album, "The DOG, on the beach!", "-n", 1).succeeded().out == found.out.partition("\n")[0] + "\n"
    )
    common = cli("search", album, "on the").succeeded().out.splitlines()
    assert [row.rpartition("\t")[2] for row in common] == ["on, the", "on, the", "the"]
    cli("search", album, "a", "zebra").failed(1, "no photograph fits: zebra\n")


def test_the_words_of_a_corrected_caption_are_certain(cli: Callable[..., Any], album: Path) -> None:
    with open(album, "a") as table:
        table.write(line("pug.jpg", "a cat", {"cat": 0.8}, written="My pug dog at the Beach"))
        table.write(line("same.jpg", "a dog and a beach", {"cat": 0.8}))
    (first, *_) = cli("search", album, "dog beach", "--json").succeeded().out.splitlines()
    words = [{"word": "dog", "share": 1.0}, {"word": "beach", "share": 1.0}]
    expected = {"image": "tables/pug.jpg", "caption": "My pug dog at the Beach", "score": 0.0, "words": words}
    assert json.loads(first) == expected
    assert "same.jpg" not in cli("search", album, "dog").out, "its caption is the model's"
    assert [row.split("\t")[0] for row in cli("search", album, "cat").out.splitlines()] == [
        "tables/pug.jpg",
        "tables/same.jpg",
    ]


def test_a_photograph_of_several_tables_is_printed_once(cli: Callable[..., Any], album: Path) -> None:
    other = Path("other.jsonl")
    other.write_text(line("pics/0.jpg", "something else", {"dog": 0.99}) + line("é\x1b.jpg", "a dog", {"dog": 0.8}))
    found = cli("search", album, other, "dog", "-n", 3).succeeded()
    captions = [row.split("\t")[:2] for row in found.out.splitlines()]
    assert captions == [["pics/0.jpg", "a dog in the snow"], ["é\\x1b.jpg", "a dog"], ["pics/2.jpg", "two dogs play"]]


def test_unknown_words_are_named(cli: Callable[..., Any], album: Path) -> None:
    found = cli("search", album, "snow qwertz girafe")
    assert (found.code, found.out) == (0, "pics/0.jpg\ta dog in the snow\tsnow\n")
    unknown = "unknown to the model, and found only in captions that you have corrected, and in tables of models that "
    unknown += "know them"
    other = "; for words of a model of yours, add --model"
    assert found.err == f"captioner: {unknown}: qwertz, girafe (did you mean giraffe?){other}\n"
    assert cli("search", album, "qwertz").err.endswith("captioner: no photograph fits: qwertz\n")
    with album.open("a") as table:  # of a model in own words
        table.write(line("waldi.jpg", "a dog", {"waldi": 0.6}))
    assert cli("search", album, "waldi").out == "tables/waldi.jpg\ta dog\twaldi\n"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["album.csv", "dog"], 2, "album.csv: expected tables that end in .jsonl before the words: captioner caption"),
        (["dog", "tables/album.jsonl"], 2, "dog: expected tables that end in .jsonl before"),
        (["tables/album.jsonl", "tables/album.jsonl"], 2, "expected words after the tables, got none"),
        (["tables/album.jsonl", "?!"], 2, "expected words after the tables, got none"),
        (["tables/albums.jsonl", "dog"], 2, "did you mean tables/album.jsonl?"),
        (["tables/album.jsonl", "dog", "--model", "no"], 1, "no: not found; expected a run folder"),
    ],
)
def test_wrong_arguments(words: list[str], code: int, message: str, cli: Callable[..., Any], album: Path) -> None:
    cli("search", *words).failed(code, message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 100_000 + b"\n", "line 6: "),
        (b"\xff\xfe{\n", "line 6: expected UTF-8 text"),
        (b"7\n", 'line 6: expected an object with an "image"'),
        (b'{"image": 5, "caption": "a dog", "shares": {}}\n', 'line 6: expected an object with an "image"'),
        (
            b'{"image": "5.jpg", "caption": "a dog", "log_prob": -3.2}\n',
            "5.jpg: expected a caption and shares",
        ),
        (b'{"image": "5.jpg", "caption": null, "shares": {}}\n', "5.jpg: expected a caption and shares"),
        (b'{"image": "5.jpg", "caption": "a dog", "shares": ["dog"]}\n', "5.jpg: expected a caption and shares"),
        (b'{"image": "5.jpg", "caption": "a dog", "shares": {"dog": NaN}}\n', "5.jpg: expected a caption and shares"),
        (b'{"image": "5.jpg", "caption": "a dog", "shares": {"dog": "0.9"}}\n', "5.jpg: expected a caption and shares"),
    ],
)
def test_a_damaged_line_is_named(content: bytes, message: str, cli: Callable[..., Any], album: Path) -> None:
    good = album.read_bytes()
    album.write_bytes(b"\xef\xbb\xbf" + good.replace(b"\n", b"\r\n\r\n", 1) + content)
    cli("search", album, "dog").failed(1, message)
    album.write_bytes(good + b'{"image": "5.jpg", "capt')  # being written, or cut
    assert cli("search", album, "snow", "dog", "-n", 1).succeeded().out == "pics/0.jpg\ta dog in the snow\tdog, snow\n"


def test_a_model_without_word_regression(cli: Callable[..., Any], album: Path, own_run: Path) -> None:
    from captioner.files import checkpoint

    saved = checkpoint.load(own_run / "best.h5")
    saved.summary.clear()
    checkpoint.save(own_run / "best.h5", saved)
    cli("search", album, "dog", "--model", own_run).failed(2, "has no training summary; captioner export ")


def test_a_word_of_every_training_image_is_known_and_does_not_decide(
    cli: Callable[..., Any], album: Path, own_run: Path
) -> None:
    from captioner.files import checkpoint

    saved = checkpoint.load(own_run / "best.h5")
    saved.summary["counts"][saved.meta.words.index("on")] = saved.summary["images"][0]
    checkpoint.save(own_run / "best.h5", saved)
    found = cli("search", album, "on", "--model", own_run).succeeded()
    assert (found.err, len(found.out.splitlines())) == ("", 2)
    assert "street" not in cli("search", album, "on dog", "--model", own_run).out
