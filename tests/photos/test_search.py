"""Search: forms of words, scores, and photographs that all words fit before others."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from captioner.captioning.caption import Candidate, Caption
from captioner.data.vocabulary import SPECIAL, Vocab
from captioner.decode.word_regression import Keyword, WordRegression
from captioner.photos.album import Album, status_of
from captioner.photos.search import FLOOR, Match, deciding, plain, read_query, search

WORDS = {
    "a": 950, "on": 600, "dog": 90, "dogs": 30, "beach": 40, "snow": 60, "surfer": 9, "surfing": 9, "surf": 9,
    "tower": 9, "towing": 9, "bicycle": 9, "bike": 9, "café": 5, "rare": 1,
}  # fmt: skip
PHOTOS = {
    "0.jpg": {"dog": 0.9, "snow": 0.8, "a": 0.9},
    "1.jpg": {"beach": 0.6, "dog": 0.06, "on": 0.9},
    "2.jpg": {"dogs": 0.9, "dog": 0.7, "beach": 0.4},
    "3.jpg": {"dog": 0.04, "surfing": 0.5},
    "Zoë am Strand.jpg": {"beach": 0.3},
}


@pytest.fixture(scope="module")
def regression() -> WordRegression:
    vocab = Vocab((*SPECIAL, *WORDS))
    counts = np.array([0] * len(SPECIAL) + [*WORDS.values()], np.float32)
    weights = np.eye(len(vocab), dtype=np.float32)
    ids = vocab.word_to_idx
    weights[ids["surfer"]] = weights[ids["surfing"]]
    names = np.isin(vocab.words, ["dog", "dogs", "beach", "snow", "surfer", "tower", "bike", "bicycle", "café"])
    none = np.zeros(0, np.float32)
    return WordRegression(vocab, np.eye(len(vocab), dtype=np.float32), weights, none, counts, names, none, 1000)


@pytest.fixture
def album(tmp_path: Path) -> Iterator[Album]:
    with Album(None) as opened:
        for name, shares in PHOTOS.items():
            path = tmp_path / "x" / "holiday" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
            kept = [Keyword(word, share) for word, share in shares.items()]
            caption = Caption(name, f"of {name}", -1.0, [], None, [Candidate("", -1.0)], shares=kept)
            opened.locate(path, name.encode()[:16].ljust(16), status_of(path), caption, "m")
        yield opened


def name_of(match: Match) -> str:
    return Path(os.fsdecode(match.place)).name


def found(album: Album, query: str, regression: WordRegression, **options: object) -> list[str]:
    return [name_of(match) for match in search(album, read_query(query, regression), 20, **options)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("word", "forms"),
    [
        ("dogs", {"dog", "dogs"}),
        ("bike", {"bike", "bicycle"}),
        ("surf", {"surf", "surfer", "surfing"}),
        ("tower", {"tower"}),
        ("Café", {"cafe"}),
        ("cafe", {"cafe"}),
        ("rare", {"rare"}),
    ],
)
def test_a_word_has_all_its_forms(word: str, forms: set[str], regression: WordRegression) -> None:
    (term,) = read_query(word, regression)
    assert term.forms == forms
    assert (term.near is None) == (word != "rare")


def test_unknown_words_have_similar_ones(regression: WordRegression) -> None:
    beach, zebra = read_query("baech zebra", regression)
    assert (beach.near, zebra.near) == (["beach"], [])
    assert beach.idf == max(term.idf for term in read_query("rare bike dog", regression))


def test_the_score_is_the_sum_of_weighted_logarithms_of_shares(album: Album, regression: WordRegression) -> None:
    terms = read_query("a dog on the beach", regression)
    by_name = {name_of(match): match for match in search(album, terms, 20)}
    idf = {term.word: term.idf for term in terms}
    p = {"a": FLOOR, "dog": 0.9, "on": FLOOR, "the": FLOOR, "beach": 0.4}
    expected = sum(idf[word] * math.log(share) for word, share in p.items())
    assert by_name["2.jpg"].score == pytest.approx(expected, abs=0.01)
    assert [keyword.word for keyword in by_name["2.jpg"].words] == ["dog", "beach"]
    assert [keyword.share for keyword in by_name["2.jpg"].words] == pytest.approx([0.9, 0.4], abs=1e-3)


def test_photographs_that_all_words_fit_are_first(album: Album, regression: WordRegression) -> None:
    matches = search(album, read_query("dog on a beach", regression), 20)
    assert [(name_of(match), match.is_clear) for match in matches] == [
        ("2.jpg", True), ("1.jpg", False), ("0.jpg", False), ("Zoë am Strand.jpg", False),
    ]  # fmt: skip
    assert search(album, read_query("dog on a beach", regression), 1) == matches[:1]
    assert found(album, "zebra", regression) == []
    assert [term.word for term in deciding(read_query("on a", regression))] == ["on", "a"]


def test_what_a_person_wrote_and_names_are_certain(album: Album, regression: WordRegression, tmp_path: Path) -> None:
    for query in ("zoe", "ZOË", "strand"):
        assert found(album, query, regression) == ["Zoë am Strand.jpg"]
    assert len(found(album, "holiday", regression)) == len(PHOTOS)
    named = {name_of(match): match for match in search(album, read_query("strand dog", regression), 20)}
    assert not any(match.is_clear for match in named.values())
    with_name = search(album, read_query("snow", regression), 20)
    assert [match.is_clear for match in with_name] == [True]
    assert found(album, "trand", regression) == found(album, "jp", regression) == []
    (entry,) = album.entries([tmp_path / "x" / "holiday" / "3.jpg"])
    album.correct(entry.id, ("My Dogs at the lake", ["Erna"]), "page")
    assert found(album, "dog", regression)[0] == "3.jpg"
    assert found(album, "erna lake", regression) == ["3.jpg"]
    (match,) = search(album, read_query("lake", regression), 20)
    assert match == Match(os.fsencode(entry.path), 0.0, [Keyword("lake", 1.0)], True)


def test_a_folder_alone_is_searched(album: Album, regression: WordRegression, tmp_path: Path) -> None:
    assert found(album, "dog", regression, folder=tmp_path / "x" / "holiday") == found(album, "dog", regression)
    assert found(album, "dog", regression, folder=tmp_path / "x" / "holi") == []
    assert len(search(album, read_query("dogs", None), 20, tmp_path)) == 1, "without a model, the word alone"


def test_plain_text_has_neither_case_nor_accents() -> None:
    assert plain("Zoë ÉVIER 猫 a\udce9") == "zoe evier 猫 a\udce9"
    assert os.fsencode(plain(os.fsdecode(b"\xe9"))) == b"\xe9"
