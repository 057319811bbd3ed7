"""Captions of a few fixed images: those that `sample` writes, renewed with each checkpoint, robust against damage."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from monitoring import wait_for

from captioner.data.corpus import Corpus
from captioner.data.scenes.source import scenes
from captioner.inference.caption_features import caption_split
from captioner.inference.load import load, open_corpus, open_run
from captioner.monitor import current_captions
from captioner.monitor.current_captions import Current, CurrentCaptions
from captioner.monitor.fixed_images import few_images
from captioner.report.fixed_images import SHOWN
from captioner.report.gallery import Gallery
from captioner.storage import checkpoint


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return scenes(train=3, val=20, test=0, heldout=0, regions=True)


@pytest.mark.parametrize("rows", [[0], [3, 7, 19], [19, 2]])
def test_few_images_of_a_split(rows: list[int], corpus: Corpus) -> None:
    split = corpus.split("val")
    few = few_images(split, rows)
    assert few.image_ids == [split.image_ids[row] for row in rows]
    assert few.regions is not None
    assert split.regions is not None
    for new, old in enumerate(rows):
        assert few.references(new, corpus.vocab) == split.references(old, corpus.vocab)
        np.testing.assert_array_equal(few.features[new], split.features[old])
        np.testing.assert_array_equal(few.regions[new], split.regions[old])
        for reference in (few.references(new, corpus.vocab)[0], corpus.split("train").references(0, corpus.vocab)[0]):
            assert few.is_true is not None
            assert split.is_true is not None
            assert few.is_true(new, reference.split()) == split.is_true(old, reference.split())


@pytest.mark.parametrize("kind", ["tiny_run", "attention_run"])
def test_captions_are_those_of_the_last_checkpoint(kind: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(kind)
    captions = CurrentCaptions(run)
    captions.update()
    current = captions.current
    assert current.problem == ""
    assert current.span is not None
    assert current.step == checkpoint.load(run / "last.h5").meta.step
    expected = {one.image: one for one in caption_split(load(run / "last.h5"), open_corpus(open_run(run)).split("val"))}
    gallery = current.gallery
    assert gallery is not None
    assert [len(gallery.entries), gallery.missing, gallery.attends] == [SHOWN, 0, kind == "attention_run"]
    for entry in gallery.entries:
        caption = expected[entry.name]
        assert [entry.caption, entry.references, entry.true] == [caption.text, caption.references, caption.true]
        assert entry.log_prob == pytest.approx(caption.log_prob)
        assert entry.picture is not None
        assert entry.picture.uri.startswith("data:image/png;base64,")


def test_a_run_without_a_checkpoint_has_its_length_only(own_run: Path) -> None:
    last = (own_run / "last.h5").rename(own_run.parent / "last.h5")
    best = (own_run / "best.h5").rename(own_run.parent / "best.h5")
    captions = CurrentCaptions(own_run)
    captions.update()
    assert captions.current.span is not None
    assert captions.current == Current(captions.current.span)
    os.replace(last, own_run / "last.h5")
    captions.update()
    assert captions.current.step == captions.current.span.total_steps
    assert captions.current.gallery is not None
    assert best.exists()


def test_nothing_is_done_twice(own_run: Path) -> None:
    captions = CurrentCaptions(own_run)
    captions.update()
    first = captions.current
    captions.update()
    assert captions.current is first
    shutil.copy(own_run / "last.h5", own_run / "new.h5")
    os.replace(own_run / "new.h5", own_run / "last.h5")
    captions.update()
    assert captions.current is not first
    assert captions.current == first
    assert captions.current.span is first.span, "the data set is not loaded again"


def test_a_damaged_checkpoint_keeps_the_captions_of_the_last_one(own_run: Path) -> None:
    captions = CurrentCaptions(own_run)
    captions.update()
    first, whole = captions.current, (own_run / "last.h5").read_bytes()
    (own_run / "last.h5").write_bytes(whole[:-100])
    captions.update()
    assert captions.current.gallery is first.gallery
    assert captions.current.problem.startswith(f"{own_run / 'last.h5'}: damaged: expected ")
    (own_run / "last.h5").write_bytes(whole)
    captions.update()
    assert captions.current == first


@pytest.mark.parametrize("content", ["model: [", "data: {source: prepared, root: gone.h5}", "\0"])
def test_a_config_that_cannot_be_used_is_reported(content: str, own_run: Path) -> None:
    (own_run / "config.yaml").write_text(content)
    captions = CurrentCaptions(own_run)
    captions.update()
    assert captions.current.gallery is None
    assert captions.current.problem


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError(), ZeroDivisionError("a bug")])
def test_other_errors_are_shown_and_retried(error: Exception, own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    captions = CurrentCaptions(own_run)
    with monkeypatch.context() as broken:
        broken.setattr(current_captions, "restore", fail)
        captions.update()
        assert captions.current.problem == f"{type(error).__name__}: {error}; the monitor tries again"
    captions.update()
    assert captions.current.problem == ""
    assert captions.current.gallery is not None


def test_the_first_attempt_is_loading_and_a_missing_config_is_reported(own_run: Path) -> None:
    captions = CurrentCaptions(own_run)
    assert captions.current == Current(is_loading=True)
    (own_run / "config.yaml").unlink()
    captions.update()
    assert captions.current == Current(problem=f"{own_run / 'config.yaml'}: not found; it was moved or deleted")


def test_a_damaged_file_is_read_once(own_run: Path) -> None:
    (own_run / "last.h5").write_bytes(b"damaged")
    captions = CurrentCaptions(own_run)
    captions.update()
    first = captions.current
    assert first.problem
    captions.update()
    assert captions.current is first


def test_missing_folders_are_waited_for(own_run: Path, tmp_path: Path) -> None:
    captions = CurrentCaptions(own_run)
    moved = own_run.rename(tmp_path / "moved")
    captions.update()
    assert captions.current.problem == ""
    moved.rename(own_run)
    captions.update()
    assert captions.current.gallery is not None


def gallery_of(run: Path, images: Path | None) -> Gallery:
    captions = CurrentCaptions(run, images)
    captions.update()
    assert captions.current.problem == ""
    assert captions.current.gallery is not None
    return captions.current.gallery


def test_photographs_are_read_from_the_given_folder_only(photo_run: Path, tmp_path: Path) -> None:
    photos = photo_run.parent / "photos"
    without, found = gallery_of(photo_run, None), gallery_of(photo_run, photos)
    assert without.missing == len(without.entries) > 0
    assert found.missing == 0
    assert [entry.caption for entry in found.entries] == [entry.caption for entry in without.entries]
    for file in Path(shutil.copytree(photos, tmp_path / "photos")).glob("*.png"):
        file.write_bytes(b"no photograph")
    assert gallery_of(photo_run, tmp_path / "photos").missing == found.missing + len(found.entries)


def test_the_thread_follows_new_checkpoints(own_run: Path) -> None:
    captions = CurrentCaptions(own_run)
    captions.follow()
    wait_for(lambda: captions.current.gallery)
    (own_run / "last.h5").write_bytes(b"damaged")
    wait_for(lambda: "not a captioner checkpoint" in captions.current.problem)
