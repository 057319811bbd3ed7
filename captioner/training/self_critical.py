"""Self-critical sequence training (SCST): reinforce sampled captions that score above others of the same image."""

from __future__ import annotations

from functools import partial

import numpy as np

from captioner.arrays import Array, Batch
from captioner.captioning.decoding import decoding_arguments
from captioner.captioning.reranker_index import build_index, index_rows
from captioner.data.batches import ShuffledBatches, part_of_rank, take
from captioner.data.corpus import Corpus, Split, read_regions
from captioner.decode import Constraints, parallel_decoding, sample
from captioner.errors import DataError
from captioner.metrics import CiderD
from captioner.model.captioning_model import CaptioningModel
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks
from captioner.parallel.thread_pool import SERIAL, ThreadPool

SAMPLES = 5
"""Captions that are sampled for an image in a batch, at most as many as it has references."""


def check_references(split: Split) -> None:
    """Check that a training split can be used for self-critical training.

    Raises: DataError for a single image, since CIDEr-D weights n-grams by their document frequency, and if no image has
    two references.
    """
    images = len(split.captioned_images)
    if images < 2:
        raise DataError("train: expected at least 2 images for a CIDEr-D reward, got 1; add images")
    if len(split.captions) == images:
        raise DataError(
            "train: expected images with 2 captions or more for self-critical training, which compares the samples of "
            "an image, got 1 of each; use train.objective=cross_entropy"
        )


class SelfCritical:
    """Batches of sampled captions, weighted so that the cross-entropy gradient is the policy gradient.

    For each image x of a batch the model samples K captions w_1 .. w_K, one for each of its references in the batch:

    loss = -1/N Σ_n (r(w_n) - b_n) Σ_t log P(w_nt | w before, x_n),   b_n = mean of r over the other captions of x_n

    r(w) = (1 - c) CIDEr-D(w, references of x) + c E[CIDEr-D(w) | x],   c = `consensus`

    The expectation is that of consensus re-ranking (`Reranker`), which leaves the references of x out, so the model
    cannot raise it by memorizing them. The gradient is an unbiased estimate of -∇ E[r(w)], since the baseline b_n does
    not depend on w_n; dropout, which is applied in the loss but not while sampling, biases it slightly. `<END>` counts
    as a word in r, so that truncated captions score lower. The noise is a function of (seed, step), so a batch is a
    function of (seed, step, parameters).

    Source: Rennie et al. 2017, "Self-critical Sequence Training for Image Captioning", equations 6 to 8; Luo 2020, "A
    Better Variant of Self-Critical Sequence Training" (the baseline).
    """

    def __init__(
        self,
        model: CaptioningModel,
        corpus: Corpus,
        batch_size: int,
        seed: int,
        max_length: int,
        consensus: float = 0.0,
        pool: ThreadPool = SERIAL,
        ranks: Ranks = SINGLE_PROCESS,
    ) -> None:
        split, vocab = corpus.split("train"), corpus.vocab
        self._batches = ShuffledBatches(split, batch_size, seed, SAMPLES, null=vocab.null, ranks=ranks)
        self._model, self._vocab, self._pool = model, vocab, pool
        self._seed, self._max_length, self._consensus = seed, max_length, consensus
        self._images, references = split.reference_ids(vocab)
        self._reward = CiderD(references)
        self._reranker = build_index(corpus).reranker() if consensus else None
        self._index_rows = index_rows(split)

    def batch(self, step: int, /) -> Batch:
        """Sample the batch of a step, with advantages as weights.

        `metrics` are the mean reward and the mean absolute advantage. Several ranks share the images, and then
        exchange their captions: all know the whole batch, and each returns its part.
        """
        vocab, ranks, rows = self._vocab, self._batches.ranks, self._batches.rows(step)
        images = self._batches.split.image_idxs[rows]
        _, inverse, counts = np.unique(images, return_inverse=True, return_counts=True)
        places = np.flatnonzero(inverse % ranks.size == ranks.rank)
        seed = int(np.random.default_rng((self._seed, 4, step)).integers(1 << 62))
        parts = ranks.all_gather((places, *self._rewarded(images[places], places, seed)))
        sampled_rows, *columns = map(np.concatenate, zip(*parts, strict=True))
        sampled, rewards = (column[np.argsort(sampled_rows)] for column in columns)
        others = counts[inverse] - 1
        sums = np.bincount(inverse, rewards)[inverse] - rewards
        weights = np.where(others > 0, rewards - sums / np.maximum(1, others), 0)
        starts = np.full((len(sampled), 1), vocab.start, sampled.dtype)
        metrics = {"reward": float(rewards.mean()), "advantage": float(np.abs(weights).mean())}
        captions = np.concatenate([starts, sampled], axis=1)
        part = part_of_rank(captions, images, vocab.null, ranks)
        kept = np.arange(len(rows)) if part is None else part.rows
        batch = take(self._batches.split, rows[kept])
        return batch._replace(captions=captions[kept], weights=weights[kept], metrics=metrics, part=part)

    def _rewarded(self, images: Array, places: Array, seed: int) -> tuple[Array, Array]:
        """Sample a caption for each image, and return the captions with their rewards.

        Shapes: images (N,), the places (N,) of the captions in the batch -> (N, T), (N,).
        """
        if not len(images):  # more ranks than images
            return np.empty((0, self._max_length), np.int32), np.empty(0)
        split, vocab = self._batches.split, self._vocab
        arguments = decoding_arguments(vocab, self._max_length, Constraints([vocab.null, vocab.start]))
        decode = parallel_decoding(self._model, self._pool)
        features, regions = split.features[images], read_regions(split.regions, images)
        tokens = decode(partial(sample, seed=seed, **arguments), features, places, regions=regions)[0][:, 0]
        captions = vocab.unpadded(tokens)
        rewards = self._reward.score(np.searchsorted(self._images, images), captions)
        if self._reranker is not None:
            unique, inverse = np.unique(images, return_inverse=True)
            weights = self._reranker.weights(split.features[unique], self._index_rows[unique])
            by_image = np.argsort(inverse, kind="stable")
            groups = np.split(by_image, np.flatnonzero(np.diff(inverse[by_image])) + 1)
            expected = self._reranker.expected_cider(weights, [[captions[i] for i in group] for group in groups])
            rewards *= 1 - self._consensus
            rewards[by_image] += self._consensus * np.concatenate(expected)
        return tokens, rewards
