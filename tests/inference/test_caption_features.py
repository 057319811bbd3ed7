"""Captions of a split or a feature file: decoding, limits, and data that must match the checkpoint."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from captioning import best_captions, candidates

from captioner.decode import Constraints, beam
from captioner.errors import CheckpointError, DataError
from captioner.inference import captioner
from captioner.inference.caption import to_record
from captioner.inference.caption_features import caption_features, caption_split
from captioner.inference.load import captioner_of, open_corpus, open_run
from captioner.inference.restore import Restored, restore
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.storage import checkpoint


@pytest.fixture(scope="module")
def restored(tiny_run: Path) -> Restored:
    """The tiny run with large random parameters, so that captions differ after little training."""
    tiny, rng = open_run(tiny_run), np.random.default_rng(0)
    params = {name: rng.standard_normal(w.shape) for name, w in sorted(tiny.model.params.items())}
    params["b_vocab"][tiny.vocab.end] += 3
    return dataclasses.replace(tiny, model=CaptioningRNN(tiny.model.sizes, params, tiny.vocab.null))


@pytest.fixture(scope="module")
def val(restored: Restored):
    return open_corpus(restored).split("val")


def test_a_run_folder_loads_its_best_checkpoint(tiny_run: Path) -> None:
    assert open_run(tiny_run).path == tiny_run / "best.h5"
    assert open_run(tiny_run / "last.h5").path == tiny_run / "last.h5"


def test_greedy_decoding_takes_the_most_probable_allowed_word(restored: Restored, val) -> None:
    vocab, model, most = restored.vocab, restored.model, restored.config.decode.max_length
    texts = []
    for row in range(10):
        state, word, words = model.start(val.features[row : row + 1]), vocab.start, []
        while word != vocab.end and len(words) < most:
            log_probs, state = model.step(np.array([word]), state)
            log_probs[0, [vocab.null, vocab.start, vocab.unk]] = -np.inf
            word = int(log_probs.argmax())
            words.append(word)
        texts.append(" ".join(vocab.decode(words)))
    assert [caption for caption, _ in best_captions(restored, val.features)] == texts
    assert len(set(texts)) > 5
    assert {len(text.split()) == most for text in texts} == {False, True}, "some captions end, and some are cut"


def test_log_probability_equals_the_teacher_forced_loss(restored: Restored, val) -> None:
    for row, (caption, log_prob) in enumerate(best_captions(restored, val.features)):
        words = caption.split()
        (ids,) = restored.vocab.encode([words])
        ended = len(words) < restored.config.decode.max_length
        reference = ids[None, : None if ended else -1]
        expected = -restored.model.word_losses(val.features[row : row + 1], reference).sum(dtype=float)
        assert log_prob == pytest.approx(expected, rel=1e-5)


def test_captions_do_not_depend_on_the_batch_size_or_the_limit(
    restored: Restored, val, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = list(best_captions(restored, val.features))
    monkeypatch.setattr(captioner, "BATCH", 3)
    assert [caption for caption, _ in best_captions(restored, val.features)] == [caption for caption, _ in whole]
    assert [caption for caption, _ in best_captions(restored, val.features, 4)] == [caption for caption, _ in whole[:4]]
    assert len(list(best_captions(restored, val.features, 10_000))) == len(whole) == 10


def test_beam_search_returns_its_most_probable_caption(tiny_run: Path, val, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = open_run(tiny_run, ["decode.beam_width=4"])
    captions = list(best_captions(wide, val.features))
    vocab, most = wide.vocab, wide.config.decode.max_length
    tokens, scores = beam(
        wide.model.step,
        wide.model.start(val.features),
        start=vocab.start,
        end=vocab.end,
        null=vocab.null,
        max_length=most,
        width=4,
        constraints=Constraints([vocab.null, vocab.start, vocab.unk]),
    )
    assert [caption for caption, _ in captions] == [" ".join(vocab.decode(ids)) for ids in tokens[:, 0].tolist()]
    np.testing.assert_allclose([log_prob for _, log_prob in captions], scores[:, 0], rtol=1e-5)
    narrow = [log_prob for _, log_prob in best_captions(open_run(tiny_run), val.features)]
    assert sum(log_prob for _, log_prob in captions) > sum(narrow)
    monkeypatch.setattr(captioner, "BATCH", 9)
    assert [caption for caption, _ in best_captions(wide, val.features)] == [caption for caption, _ in captions]


def constant_run(run: Path, word: str) -> Path:
    """Make the checkpoint always predict `word`, or `a` where `word` is banned."""
    path = run / "last.h5"
    saved = checkpoint.load(path)
    for array in saved.params.values():
        array[...] = 0
    saved.params["b_vocab"][saved.meta.words.index("a")] = 5
    saved.params["b_vocab"][saved.meta.words.index(word)] = 9
    checkpoint.save(path, saved)
    return path


def test_special_tokens_are_banned_and_unk_by_default(own_run: Path, val) -> None:
    for word in ("<NULL>", "<START>", "<UNK>"):
        path = constant_run(own_run, word)
        ((caption, _),) = best_captions(restore(path, ["decode.max_length=2"]), val.features, 1)
        assert caption == "a a"
    ((caption, _),) = best_captions(
        restore(path, ["decode.max_length=2", "decode.suppress_unk=false"]), val.features, 1
    )
    assert caption == "<UNK> <UNK>"


def test_a_caption_may_be_empty(own_run: Path, val) -> None:
    ((caption, log_prob),) = best_captions(restore(constant_run(own_run, "<END>")), val.features, 1)
    assert caption == ""
    assert -0.1 < log_prob < 0


def test_captions_of_a_split_have_names_references_and_truth(restored: Restored, val) -> None:
    captions = list(caption_split(captioner_of(restored), val))
    assert [c.image for c in captions] == list(val.image_ids)
    assert [c.text for c in captions] == [caption for caption, _ in best_captions(restored, val.features)]
    for image, caption in enumerate(captions):
        assert len(caption.references) == 5
        assert all(val.is_true(image, reference.split()) for reference in caption.references)
        assert caption.true is val.is_true(image, caption.text.split())
    assert len(list(caption_split(captioner_of(restored), val, 3))) == 3


def test_truth_is_none_without_a_truth_function(coco_run: Path) -> None:
    restored = open_run(coco_run)
    val = open_corpus(restored).split("val")
    captions = list(caption_split(captioner_of(restored), val))
    assert [c.true for c in captions] == [None, None]
    assert captions[0].references == ["a café 猫", "a 猫", "<UNK>"]


def write_features(path: Path, values: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        file["features"] = values
    return path


def test_features_from_a_file_give_the_same_captions(restored: Restored, val, tmp_path: Path) -> None:
    path = write_features(tmp_path / "new.h5", np.asarray(val.features))
    captions = list(caption_features(captioner_of(restored), path))
    assert [c.image for c in captions] == [str(row) for row in range(10)]
    assert [c.text for c in captions] == [caption for caption, _ in best_captions(restored, val.features)]
    assert {(c.true, *c.references) for c in captions} == {(None,)}
    assert len(list(caption_features(captioner_of(restored), path, 2))) == 2


def test_features_of_another_width_are_rejected(restored: Restored, tmp_path: Path) -> None:
    path = write_features(tmp_path / "new.h5", np.zeros((2, 8), np.float32))
    with pytest.raises(CheckpointError, match=r"expected \d+ numbers per image, got 8") as caught:
        list(caption_features(captioner_of(restored), path))
    assert str(path) in str(caught.value)


def test_non_finite_features_are_rejected(restored: Restored, tmp_path: Path) -> None:
    values = np.zeros((2, restored.meta.feature_dim), np.float32)
    values[1, 0] = np.nan
    path = write_features(tmp_path / "new.h5", values)
    with pytest.raises(DataError, match=rf"^{path}: features: row 1: a number is not finite"):
        list(caption_features(captioner_of(restored), path))


def test_a_data_set_with_another_vocabulary_is_rejected(
    coco_run: Path, write_coco: Callable[..., Path], tmp_path: Path
) -> None:
    words = ("<NULL>", "<START>", "<END>", "<UNK>", "a", "dog", "猫")
    other = write_coco(tmp_path / "other", words=words)
    with pytest.raises(CheckpointError, match=r"vocabulary: expected the 7 words .* different from id 5 on"):
        open_corpus(open_run(coco_run, [f"data.root={other}"]))


def test_a_data_set_of_another_encoder_is_rejected(coco_run: Path) -> None:
    with pytest.raises(CheckpointError, match="expected encoder cs231n:vgg16_fc7_pca, got cs231n:vgg16_fc7;"):
        open_corpus(open_run(coco_run, ["data.cs231n.pca=false"]))


def test_a_data_set_of_another_feature_width_is_rejected(
    coco_run: Path, write_coco: Callable[..., Path], tmp_path: Path
) -> None:
    other = write_coco(tmp_path / "other", width=9)
    with pytest.raises(CheckpointError, match=r"features: expected 8 numbers per image, got 9"):
        open_corpus(open_run(coco_run, [f"data.root={other}"]))


def test_candidates_are_the_n_best_of_the_beam(tiny_run: Path, val) -> None:
    wide = open_run(tiny_run, ["decode.beam_width=4"])
    best = [text for text, _ in best_captions(wide, val.features)]
    for count in (1, 3, 4):
        found = candidates(captioner_of(wide), val.features, n_best=count)
        assert [captions[0][0] for captions in found] == best
        assert {len(captions) for captions in found} == {count}
        for captions in found:
            log_probs = [log_prob for _, log_prob in captions]
            assert log_probs == sorted(log_probs, reverse=True)
            assert len({text for text, _ in captions}) == count
    wider = candidates(captioner_of(open_run(tiny_run)), val.features, n_best=4)
    assert [[text for text, _ in one] for one in wider] == [[text for text, _ in one] for one in found]
    assert len(candidates(captioner_of(wide), val.features, rows=np.arange(2), n_best=3)) == 2


def test_there_may_be_fewer_candidates_than_n_best(own_run: Path, val) -> None:
    path = constant_run(own_run, "<END>")
    one_word = captioner_of(restore(path, ["decode.max_length=1"]))
    (found,) = candidates(one_word, val.features, rows=np.arange(1), n_best=100)
    texts = [text for text, _ in found]
    assert texts[:2] == ["", "a"]
    assert len(texts) == len(set(texts)) == len(restore(path).vocab) - 3
    assert all(math.isfinite(log_prob) for _, log_prob in found)


def test_captions_have_n_best_candidates(restored: Restored, val, tmp_path: Path) -> None:
    path = write_features(tmp_path / "new.h5", np.asarray(val.features))
    one = captioner_of(restored)
    for several in (list(caption_split(one, val, 3, 2)), list(caption_features(one, path, 3, 2))):
        for caption in several:
            assert caption.candidates is not None
            assert (caption.text, caption.log_prob) == caption.candidates[0]
            (first, second) = to_record(caption)["candidates"]
            assert (first["caption"], first["log_prob"]) == caption.candidates[0]
            assert (second["caption"], second["log_prob"]) == caption.candidates[1]
    (alone,) = caption_split(captioner_of(restored), val, 1)
    assert list(to_record(alone)) == ["image", "caption", "log_prob", "references", "true"]


def sampling(restored: Restored, **options: object) -> Restored:
    decode = dataclasses.replace(restored.config.decode, method="sampling", max_length=6, **options)
    return dataclasses.replace(restored, config=dataclasses.replace(restored.config, decode=decode))


def texts(found: list[list[tuple[str, float]]]) -> list[list[str]]:
    return [[text for text, _ in one] for one in found]


def test_samples_do_not_depend_on_batches_threads_or_order(
    restored: Restored, val, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = sampling(restored, top_p=0.9)
    whole = texts(candidates(captioner_of(drawn), val.features, n_best=3))
    assert len({text for one in whole for text in one}) > 15
    for threads, batch in ((1, 256), (3, 5)):
        monkeypatch.setattr(captioner, "BATCH", batch)
        config = dataclasses.replace(drawn.config, threads=threads)
        other = dataclasses.replace(drawn, config=config)
        assert texts(candidates(captioner_of(other), val.features, n_best=3)) == whole
    order = np.arange(10)[::-1]
    turned = candidates(captioner_of(drawn), val.features[order], n_best=3, image_ids=order)
    assert texts(turned) == whole[::-1]
    assert texts(candidates(captioner_of(sampling(restored, top_p=0.9, seed=1)), val.features, n_best=3)) != whole


def test_samples_are_sorted_by_the_models_log_probability(restored: Restored, val) -> None:
    drawn = captioner_of(sampling(restored, temperature=2.0))
    for row, found in enumerate(candidates(drawn, val.features, n_best=4)):
        log_probs = [log_prob for _, log_prob in found]
        assert len(found) == 4
        assert log_probs == sorted(log_probs, reverse=True)
        for caption, log_prob in found:
            (ids,) = restored.vocab.encode([caption.split()])
            reference = ids[None, : None if len(caption.split()) < 6 else -1]
            losses = restored.model.word_losses(val.features[row : row + 1], reference)
            assert log_prob == pytest.approx(-losses.sum(dtype=float), rel=1e-5)
