"""Self-critical sequence training (SCST): reinforce sampled captions that score above others of the same image."""

from __future__ import annotations

from functools import partial

import numpy as np

from captioner.arrays import Array, Batch
from captioner.captioning.decoding import decoding_arguments
from captioner.captioning.reranker_index import index_rows
from captioner.data.batches import part_of_rank, steps_per_epoch
from captioner.data.corpus import Corpus, Split, read_regions
from captioner.decode import Constraints, Reranker, parallel_decoding, sample
from captioner.errors import DataError
from captioner.metrics import CiderD
from captioner.model.captioning_model import CaptioningModel
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks
from captioner.parallel.thread_pool import SERIAL, ThreadPool


def check_references(split: Split) -> None:
    """Check that a training split can be used for self-critical training.

    Raises: DataError for a single image, since CIDEr-D weights n-grams by their document frequency.
    """
    images = len(split.captioned_images)
    if images < 2:
        raise DataError("train: expected at least 2 images for a CIDEr-D reward, got 1; add images")


class SelfCritical:
    """Batches of sampled captions, weighted so that the cross-entropy gradient is the policy gradient.

    For each image x of a batch the model samples K captions w_1 .. w_K (`samples`), N of all images:

    loss = -1/N Σ_n (r(w_n) - b_n) Σ_t log P(w_nt | w before, x_n),   b_n = mean of r over the other captions of x_n

    r(w) = (1 - c) CIDEr-D(w, references of x) + c E[CIDEr-D(w) | x],   c = `consensus`

    The expectation is that of consensus re-ranking (`Reranker`), which leaves the references of x out, so the model
    cannot raise it by memorizing them; `reranker` is needed if c > 0. The gradient is an unbiased estimate of -∇
    E[r(w)], since the baseline b_n does not depend on w_n; dropout, which is applied in the loss but not while
    sampling, biases it slightly. `<END>` counts as a word in r, so that truncated captions score lower. The noise is a
    function of (seed, step), so a batch is a function of (seed, step, parameters).

    Source: Rennie et al. 2017, "Self-critical Sequence Training for Image Captioning", equations 6 to 8; Luo 2020, "A
    Better Variant of Self-Critical Sequence Training" (the baseline).
    """

    def __init__(
        self,
        model: CaptioningModel,
        corpus: Corpus,
        batch_size: int,
        samples: int,
        seed: int,
        max_length: int,
        consensus: float = 0.0,
        reranker: Reranker | None = None,
        pool: ThreadPool = SERIAL,
        ranks: Ranks = SINGLE_PROCESS,
    ) -> None:
        self._split, self._vocab, self._model = corpus.split("train"), corpus.vocab, model
        self._samples, self._seed, self._max_length, self._consensus = samples, seed, max_length, consensus
        self._pool, self._ranks = pool, ranks
        self._images, references = self._split.reference_ids(self._vocab)
        self._per_batch = batch_size // samples
        self._per_epoch = steps_per_epoch(len(references), self._per_batch)
        self._reward, self._reranker = CiderD(references), reranker
        self._index_rows = index_rows(self._split)

    def images(self, step: int) -> Array:
        """Return the image of each caption in the batch of a step: every epoch contains each image once.

        Shapes: -> (N,).
        """
        epoch, batch = divmod(step, self._per_epoch)
        order = np.random.default_rng((self._seed, 0, epoch)).permutation(self._images)
        return np.repeat(order[batch * self._per_batch :][: self._per_batch], self._samples)

    def batch(self, step: int, /) -> Batch:
        """Sample the batch of a step, with advantages as weights.

        `metrics` are the mean reward and the mean absolute advantage. Several ranks share the images, and then
        exchange their captions: all know the whole batch, and each returns its part.
        """
        split, vocab, ranks, images = self._split, self._vocab, self._ranks, self.images(step)
        places = np.flatnonzero(np.arange(len(images)) // self._samples % ranks.size == ranks.rank)
        seed = int(np.random.default_rng((self._seed, 4, step)).integers(1 << 62))
        parts = ranks.all_gather((places, *self._rewarded(images[places], places, seed)))
        sampled_rows, *columns = map(np.concatenate, zip(*parts, strict=True))
        sampled, rewards = (column[np.argsort(sampled_rows)] for column in columns)
        by_image = rewards.reshape(-1, self._samples)
        deviations = by_image - by_image.mean(axis=1, keepdims=True)
        weights = deviations.reshape(-1) * self._samples / (self._samples - 1)  # minus the mean of the others
        starts = np.full((len(sampled), 1), vocab.start, sampled.dtype)
        metrics = {"reward": float(rewards.mean()), "advantage": float(np.abs(weights).mean())}
        captions = np.concatenate([starts, sampled], axis=1)
        part = part_of_rank(captions, images, vocab.null, ranks)
        kept = slice(None) if part is None else part.rows
        images = images[kept]
        regions = read_regions(split.regions, images)
        return Batch(split.features[images], captions[kept], weights[kept], metrics, regions, part)

    def _rewarded(self, images: Array, places: Array, seed: int) -> tuple[Array, Array]:
        """Sample a caption for each image, and return the captions with their rewards.

        Shapes: images (N,), equal ones adjacent, the places (N,) of the captions in the batch -> (N, T), (N,).
        """
        if not len(images):  # more ranks than images
            return np.empty((0, self._max_length), np.int32), np.empty(0)
        split, vocab = self._split, self._vocab
        arguments = decoding_arguments(vocab, self._max_length, Constraints([vocab.null, vocab.start]))
        decode = parallel_decoding(self._model, self._pool)
        features, regions = split.features[images], read_regions(split.regions, images)
        tokens = decode(partial(sample, seed=seed, **arguments), features, places, regions=regions)[0][:, 0]
        captions = vocab.unpadded(tokens)
        rewards = self._reward.score(np.searchsorted(self._images, images), captions)
        if self._reranker is not None:
            own, count = images[:: self._samples], self._samples
            weights = self._reranker.weights(split.features[own], self._index_rows[own])
            groups = [captions[first : first + count] for first in range(0, len(captions), count)]
            expected = np.concatenate(self._reranker.expected_cider(weights, groups))
            rewards = (1 - self._consensus) * rewards + self._consensus * expected
        return tokens, rewards
