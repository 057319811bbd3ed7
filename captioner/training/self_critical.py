"""Self-critical sequence training (SCST): reinforce sampled captions that score above others of the same image."""

from __future__ import annotations

from functools import partial

import numpy as np

from captioner.arrays import Array, Batch
from captioner.captioning.decoding import decoding_arguments
from captioner.captioning.training_summary import TrainingSummary
from captioner.config.options import Config
from captioner.data.batches import part_of_rank, steps_per_epoch
from captioner.data.corpus import Corpus, read_regions
from captioner.decode import Constraints, parallel_decoding, sample
from captioner.metrics import CiderD
from captioner.model.captioning_model import CaptioningModel
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks
from captioner.parallel.thread_pool import SERIAL, ThreadPool


class SelfCritical:
    """Batches of sampled captions, weighted so that the cross-entropy gradient is the policy gradient.

    For each image x of a batch the model samples K captions w_1 .. w_K (train.samples), N of all images:

    loss = -1/N Σ_n (r(w_n) - b_n) Σ_t log P(w_nt | w before, x_n),   b_n = mean of r over the other captions of x_n

    r(w) = CIDEr-D(w, references of x) + c s(w, x),   c = train.similarity_weight

    s is the expected similarity (`WordRegression`) with shares that leave the references of x out, so the model cannot
    raise it by memorizing them; `summary` is needed if c > 0. The gradient is an unbiased estimate of -∇ E[r(w)], since
    the baseline b_n does not depend on w_n; dropout, which is applied in the loss but not while sampling, biases it
    slightly. In CIDEr-D, `<END>` counts as a word, so that truncated captions score lower. The noise is a function of
    (seed, step), so a batch is a function of (seed, step, parameters).

    Source: Rennie et al. 2017, "Self-critical Sequence Training for Image Captioning", equations 6 to 8; Luo 2020, "A
    Better Variant of Self-Critical Sequence Training" (the baseline).
    """

    def __init__(
        self,
        config: Config,
        corpus: Corpus,
        model: CaptioningModel,
        summary: TrainingSummary | None = None,
        pool: ThreadPool = SERIAL,
        ranks: Ranks = SINGLE_PROCESS,
    ) -> None:
        self._split, self._vocab, self._model = corpus.split("train"), corpus.vocab, model
        self._samples, self._seed, self._max_length = config.train.samples, config.seed, config.decode.max_length
        self._pool, self._ranks = pool, ranks
        self._images, references = self._split.reference_ids(self._vocab)
        self._per_batch = config.train.batch_size // self._samples
        self._per_epoch = steps_per_epoch(len(references), self._per_batch)
        self._reward, self._weight, self._summary = CiderD(references), config.train.similarity_weight, summary
        self._shares = summary and summary.leave_one_out(self._split)

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
        return Batch(split.features[images], captions[kept], regions, weights[kept], metrics, part)

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
        if self._summary is not None and self._shares is not None:
            shares = self._shares(images[:: self._samples])
            groups = tokens.reshape(len(shares), self._samples, -1)
            rewards += self._weight * self._summary.regression.similarity(groups, shares).ravel()
        return tokens, rewards
