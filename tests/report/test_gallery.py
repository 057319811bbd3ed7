"""The gallery: which images it shows, and what it keeps of names, captions and photographs."""

from pathlib import Path

import numpy as np
import pytest

from captioner.captioning.captioner import BEST_ALONE
from captioner.captioning.load import captioner_of, open_corpus, open_run
from captioner.report.gallery import (
    MAX_NAME,
    MAX_TEXT,
    SIDE,
    Gallery,
    Scored,
    build_gallery,
    choose,
    shown_name,
    shown_text,
)
from captioner.report.pictures import pictures_of_split

SCORES = np.random.default_rng(0).permutation(100) / 100


@pytest.mark.parametrize("count", [1, 2, 3, 7, 24, 99])
def test_the_best_the_worst_and_some_between(count: int) -> None:
    chosen = choose(SCORES, count)
    scores = [scored.cider for scored in chosen.values()]
    assert len(chosen) == count
    assert scores == sorted(scores, reverse=True)
    assert [SCORES[number] for number in chosen] == scores
    assert max(scores) == 0.99
    assert min(scores) == 0 or count == 1
    marks = [scored.mark for scored in chosen.values()]
    ends = count // 3
    assert marks[:ends] == ["best"] * ends
    assert marks[count - ends :] == ["worst"] * ends
    assert scores[:ends] == pytest.approx([0.99 - rank / 100 for rank in range(ends)])


def test_all_images_of_a_small_split_are_shown() -> None:
    chosen = choose(np.array([0.5, 0.1, 0.9]), 24)
    assert [(number, scored.mark) for number, scored in chosen.items()] == [(2, "best"), (0, ""), (1, "worst")]
    assert choose(np.array([0.5]), 24) == {0: Scored(0.5, "")}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dogs/1.jpg", "dogs/1.jpg"),
        ("/home/someone/1.jpg", "1.jpg"),
        ("a\u202egpj.exe", "a\\u202egpj.exe"),
        ("a\nb\x1b[31m", "a\\nb\\x1b[31m"),
    ],
)
def test_names_have_no_machine_paths_and_no_controls(name: str, expected: str) -> None:
    assert shown_name(name) == expected


def test_huge_names_and_captions_are_shortened() -> None:
    assert len(shown_name("x" * 1_000_000)) == MAX_NAME
    assert len(shown_text("x" * 1_000_000)) == MAX_TEXT
    assert shown_text("a  dog\n runs\u2028") == "a dog runs"


def gallery(run: Path, images: Path | None = None, captions: dict[int, str] | None = None) -> Gallery:
    captioner = captioner_of(open_run(run, {"caption.n_best": 3}))
    corpus = open_corpus(captioner.loaded)
    pictures = pictures_of_split(corpus, "val", images)
    if captions is None:
        decoded = captioner.with_options(BEST_ALONE).decode(
            corpus.split("val").features, regions=corpus.split("val").regions
        )
        captions = {row: caption.text for row, caption in enumerate(decoded)}
    chosen = {1: Scored(0.5, "best"), 0: Scored(0.25, "worst")}
    return build_gallery(captioner, corpus, "val", pictures, chosen, captions)


def test_an_entry_has_the_captions_of_the_model(tiny_run: Path) -> None:
    shown = gallery(tiny_run)
    captioner = captioner_of(open_run(tiny_run))
    corpus = open_corpus(captioner.loaded)
    split = corpus.split("val")
    expected = list(captioner.decode(split.features, rows=np.arange(2)))
    for entry, row in zip(shown.entries, (1, 0), strict=True):
        caption = entry.caption
        assert (entry.row, caption.image) == (row, f"val-0000{row}")
        assert (caption.text, caption.log_prob) == pytest.approx(expected[row].candidates[0], abs=1e-5)
        assert caption.references == split.references(row, corpus.vocab)
        assert len(caption.candidates) == 3
        assert entry.picture is not None
        assert (entry.picture.width, entry.words) == (64, [])
    assert (shown.total, shown.missing, shown.is_scored) == (10, 0, True)


def test_attention_has_a_map_for_every_word(attention_run: Path) -> None:
    shown = gallery(attention_run)
    assert "small pictures" in shown.legend
    for entry in shown.entries:
        assert [word.word for word in entry.words] == entry.caption.text.split()
        assert entry.caption.attention is not None
        assert entry.caption.attention.grid == (3, 3)


def test_attention_of_another_caption_is_omitted(attention_run: Path) -> None:
    shown = gallery(attention_run, captions={0: "a dog", 1: "two dogs"})
    assert [(entry.caption.text, entry.words) for entry in shown.entries] == [("two dogs", []), ("a dog", [])]


def test_photographs_are_read_only_from_the_named_folder(photo_run: Path) -> None:
    photos = photo_run.parent / "photos"
    assert [entry.picture for entry in gallery(photo_run).entries] == [None, None]
    shown = gallery(photo_run, photos)
    assert shown.missing == 0
    for entry in shown.entries:
        assert entry.picture is not None
        assert entry.picture.uri.startswith("data:image/jpeg;base64,")
        assert max(entry.picture.width, entry.picture.height) <= SIDE


def test_an_unreadable_photograph_is_missing(photo_run: Path, tmp_path: Path) -> None:
    for photo in (photo_run.parent / "photos").glob("*.png"):
        (tmp_path / photo.name).write_text("no photograph")
    assert gallery(photo_run, tmp_path).missing == 2
