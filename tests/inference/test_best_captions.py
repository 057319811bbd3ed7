"""The best captions of features: greedy, by beam search and sampled."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from captioning import best_captions, candidates

from captioner.decode import Constraints, beam
from captioner.inference import captioner
from captioner.inference.load import captioner_of, open_run
from captioner.inference.restore import Restored, restore
from captioner.storage import checkpoint


def test_greedy_decoding_takes_the_most_probable_allowed_word(varied_model: Restored, val_split) -> None:
    vocab, model, most = varied_model.vocab, varied_model.model, varied_model.config.decode.max_length
    texts = []
    for row in range(10):
        state, word, words = model.start(val_split.features[row : row + 1]), vocab.start, []
        while word != vocab.end and len(words) < most:
            log_probs, state = model.step(np.array([word]), state)
            log_probs[0, [vocab.null, vocab.start, vocab.unk]] = -np.inf
            word = int(log_probs.argmax())
            words.append(word)
        texts.append(" ".join(vocab.decode(words)))
    assert [caption for caption, _ in best_captions(varied_model, val_split.features)] == texts
    assert len(set(texts)) > 5
    assert {len(text.split()) == most for text in texts} == {False, True}, "some captions end, and some are cut"


def test_log_probability_equals_the_teacher_forced_loss(varied_model: Restored, val_split) -> None:
    for row, (caption, log_prob) in enumerate(best_captions(varied_model, val_split.features)):
        words = caption.split()
        (ids,) = varied_model.vocab.encode([words])
        ended = len(words) < varied_model.config.decode.max_length
        reference = ids[None, : None if ended else -1]
        expected = -varied_model.model.word_losses(val_split.features[row : row + 1], reference).sum(dtype=float)
        assert log_prob == pytest.approx(expected, rel=1e-5)


def test_captions_do_not_depend_on_the_batch_size_or_the_limit(
    varied_model: Restored, val_split, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = list(best_captions(varied_model, val_split.features))
    monkeypatch.setattr(captioner, "BATCH", 3)
    assert [caption for caption, _ in best_captions(varied_model, val_split.features)] == [
        caption for caption, _ in whole
    ]
    assert [caption for caption, _ in best_captions(varied_model, val_split.features, 4)] == [
        caption for caption, _ in whole[:4]
    ]
    assert len(list(best_captions(varied_model, val_split.features, 10_000))) == len(whole) == 10


def test_beam_search_returns_its_most_probable_caption(
    tiny_run: Path, val_split, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = open_run(tiny_run, ["decode.beam_width=4"])
    captions = list(best_captions(wide, val_split.features))
    vocab, most = wide.vocab, wide.config.decode.max_length
    tokens, scores = beam(
        wide.model.step,
        wide.model.start(val_split.features),
        start=vocab.start,
        end=vocab.end,
        null=vocab.null,
        max_length=most,
        width=4,
        constraints=Constraints([vocab.null, vocab.start, vocab.unk]),
    )
    assert [caption for caption, _ in captions] == [" ".join(vocab.decode(ids)) for ids in tokens[:, 0].tolist()]
    np.testing.assert_allclose([log_prob for _, log_prob in captions], scores[:, 0], rtol=1e-5)
    narrow = [log_prob for _, log_prob in best_captions(open_run(tiny_run), val_split.features)]
    assert sum(log_prob for _, log_prob in captions) > sum(narrow)
    monkeypatch.setattr(captioner, "BATCH", 9)
    assert [caption for caption, _ in best_captions(wide, val_split.features)] == [caption for caption, _ in captions]


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


def test_special_tokens_are_banned_and_unk_by_default(own_run: Path, val_split) -> None:
    for word in ("<NULL>", "<START>", "<UNK>"):
        path = constant_run(own_run, word)
        ((caption, _),) = best_captions(restore(path, ["decode.max_length=2"]), val_split.features, 1)
        assert caption == "a a"
    ((caption, _),) = best_captions(
        restore(path, ["decode.max_length=2", "decode.suppress_unk=false"]), val_split.features, 1
    )
    assert caption == "<UNK> <UNK>"


def test_a_caption_may_be_empty(own_run: Path, val_split) -> None:
    ((caption, log_prob),) = best_captions(restore(constant_run(own_run, "<END>")), val_split.features, 1)
    assert caption == ""
    assert -0.1 < log_prob < 0


def test_candidates_are_the_n_best_of_the_beam(tiny_run: Path, val_split) -> None:
    wide = open_run(tiny_run, ["decode.beam_width=4"])
    best = [text for text, _ in best_captions(wide, val_split.features)]
    for count in (1, 3, 4):
        found = candidates(captioner_of(wide), val_split.features, n_best=count)
        assert [captions[0][0] for captions in found] == best
        assert {len(captions) for captions in found} == {count}
        for captions in found:
            log_probs = [log_prob for _, log_prob in captions]
            assert log_probs == sorted(log_probs, reverse=True)
            assert len({text for text, _ in captions}) == count
    wider = candidates(captioner_of(open_run(tiny_run)), val_split.features, n_best=4)
    assert [[text for text, _ in one] for one in wider] == [[text for text, _ in one] for one in found]
    assert len(candidates(captioner_of(wide), val_split.features, rows=np.arange(2), n_best=3)) == 2


def test_there_may_be_fewer_candidates_than_n_best(own_run: Path, val_split) -> None:
    path = constant_run(own_run, "<END>")
    one_word = captioner_of(restore(path, ["decode.max_length=1"]))
    (found,) = candidates(one_word, val_split.features, rows=np.arange(1), n_best=100)
    texts = [text for text, _ in found]
    assert texts[:2] == ["", "a"]
    assert len(texts) == len(set(texts)) == len(restore(path).vocab) - 3
    assert all(math.isfinite(log_prob) for _, log_prob in found)


def sampling(varied_model: Restored, **options: object) -> Restored:
    decode = dataclasses.replace(varied_model.config.decode, method="sampling", max_length=6, **options)
    return dataclasses.replace(varied_model, config=dataclasses.replace(varied_model.config, decode=decode))


def texts(found: list[list[tuple[str, float]]]) -> list[list[str]]:
    return [[text for text, _ in one] for one in found]


def test_samples_do_not_depend_on_batches_threads_or_order(
    varied_model: Restored, val_split, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = sampling(varied_model, top_p=0.9)
    whole = texts(candidates(captioner_of(drawn), val_split.features, n_best=3))
    assert len({text for one in whole for text in one}) > 15
    for threads, batch in ((1, 256), (3, 5)):
        monkeypatch.setattr(captioner, "BATCH", batch)
        config = dataclasses.replace(drawn.config, threads=threads)
        other = dataclasses.replace(drawn, config=config)
        assert texts(candidates(captioner_of(other), val_split.features, n_best=3)) == whole
    order = np.arange(10)[::-1]
    turned = candidates(captioner_of(drawn), val_split.features[order], n_best=3, image_ids=order)
    assert texts(turned) == whole[::-1]
    assert (
        texts(candidates(captioner_of(sampling(varied_model, top_p=0.9, seed=1)), val_split.features, n_best=3))
        != whole
    )


def test_samples_are_sorted_by_the_models_log_probability(varied_model: Restored, val_split) -> None:
    drawn = captioner_of(sampling(varied_model, temperature=2.0))
    for row, found in enumerate(candidates(drawn, val_split.features, n_best=4)):
        log_probs = [log_prob for _, log_prob in found]
        assert len(found) == 4
        assert log_probs == sorted(log_probs, reverse=True)
        for caption, log_prob in found:
            (ids,) = varied_model.vocab.encode([caption.split()])
            reference = ids[None, : None if len(caption.split()) < 6 else -1]
            losses = varied_model.model.word_losses(val_split.features[row : row + 1], reference)
            assert log_prob == pytest.approx(-losses.sum(dtype=float), rel=1e-5)
