"""captioner search: what is printed of the photographs of an album, and wrong arguments."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioner.captioning.caption import Candidate, Caption
from captioner.decode.word_regression import Keyword
from captioner.photos.album import Album, status_of

PHOTOS = {
    "a dog in the snow": {"dog": 0.9, "snow": 0.8, "a": 0.9},
    "a man on a beach": {"beach": 0.6, "man": 0.9, "dog": 0.06},
    "two dogs play": {"dogs": 0.9, "dog": 0.7, "beach": 0.4},
    "a street": {"street": 0.9, "dog": 0.049},
}


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An album of four photographs in another folder than the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAPTIONER_ALBUM", "a.db")
    with Album(Path("a.db")) as opened:
        for number, (text, shares) in enumerate(PHOTOS.items()):
            photo = Path("pics", f"{number}\x1b.jpg")
            photo.parent.mkdir(exist_ok=True)
            photo.write_text(text)
            kept = [Keyword(word, share) for word, share in shares.items()]
            caption = Caption("", text, -1.0, [], None, [Candidate(text, -1.0)], shares=kept)
            opened.locate(photo, bytes([number] * 16), status_of(photo), caption, "m")
    return Path("a.db")


def test_photographs_are_ranked_with_a_line_before_those_that_not_all_words_fit(
    cli: Callable[..., Any], album: Path
) -> None:
    found = cli("search", "dogs", "on", "the", "beach")
    assert (found.code, found.err) == (0, "less certain:\n")
    lines = ["two dogs play\tdogs, beach", "a man on a beach\tbeach, dogs", "a dog in the snow\tdogs"]
    assert found.out.splitlines() == [f"pics/{n}\\x1b.jpg\t{line}" for n, line in zip((2, 1, 0), lines, strict=True)]
    assert cli("search", "The DOG, on the beach!", "-n", 1).succeeded().out.count("\n") == 1
    (record,) = map(json.loads, cli("search", "snow", "--json").succeeded().out.splitlines())
    assert (record["image"], record["caption"], record["is_clear"]) == ("pics/0\x1b.jpg", "a dog in the snow", True)
    assert record["words"] == [{"word": "snow", "share": 0.8}]
    assert cli("search", "man beach zebra", "-n", 1).err.endswith("none that all words clearly fit; less certain:\n")
    assert cli("search", "--in", "pics", "street").succeeded().out.startswith("pics/3")
    Path("pics/3\x1b.jpg").unlink()
    assert cli("search", "street") == (0, "", "missing files that fit: 1 (captioner album --forget-missing FOLDER)\n")
    cli("search", "--in", "elsewhere", "street").failed(1, "no photograph of the album is in elsewhere; see captioner")


def test_unknown_words_are_named_and_found_in_corrections(cli: Callable[..., Any], album: Path) -> None:
    found = cli("search", "girafe", "snow")
    unknown = "unknown to the model, and in no name or correction; for words of a model of yours, add --model"
    assert found.err.startswith(f"{unknown}: girafe (did you mean giraffe?)\n")
    assert cli("search", "qwertz").err.endswith("captioner: no photograph fits: qwertz\n")
    with Album(album) as opened:
        (entry,) = opened.entries([Path("pics/3\x1b.jpg")])
        opened.correct(entry.id, ("Qwertz in town", []), "page")
    assert cli("search", "qwertz").out == "pics/3\\x1b.jpg\tQwertz in town\tqwertz\n"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["?!"], 2, "query: expected 1 to 60 words, got 0"),
        (["x y"] + [f"w{n}" for n in range(60)], 2, "query: expected 1 to 60 words, got 62"),
        (
            ["dog", "--album", "b.db"],
            2,
            "b.db: no album; `captioner caption FOLDER` makes it",
        ),
        (["dog", "--model", "no"], 1, "no: not found; expected a run folder"),
    ],
)
def test_wrong_arguments(words: list[str], code: int, message: str, cli: Callable[..., Any], album: Path) -> None:
    cli("search", *words).failed(code, message)


def test_a_model_without_word_regression(cli: Callable[..., Any], album: Path, own_run: Path) -> None:
    from captioner.files import checkpoint

    saved = checkpoint.load(own_run / "best.h5")
    saved.summary.clear()
    checkpoint.save(own_run / "best.h5", saved)
    cli("search", "dog", "--model", own_run).failed(2, "has no training summary; captioner export ")
