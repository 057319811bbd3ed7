"""Self-critical sequence training (SCST): reinforce sampled captions that score above the greedy caption."""

from __future__ import annotations

from functools import partial

import numpy as np

from captioner.arrays import Array, Batch, SharedRows
from captioner.data.batches import ShuffledBatches, part_of_rank, take
from captioner.data.corpus import read_regions
from captioner.data.vocabulary import Vocab
from captioner.decode import Constraints, greedy, sample
from captioner.decode.parallel import parallel_decoder
from captioner.errors import DataError
from captioner.inference.decoder import decoding_arguments
from captioner.metrics import CiderD
from captioner.model.captioning_model import CaptioningModel
from captioner.parallel.thread_pool import SERIAL, ThreadPool


class SelfCritical:
    """Batches of sampled captions, weighted so that the cross-entropy gradient is the policy gradient.

    For each image of the underlying batch the model samples a caption w and decodes the greedy caption ŵ:

    loss = -1/N Σ_n (r(w_n) - r(ŵ_n)) Σ_t log P(w_nt | w before, image n),   r = CIDEr-D against the image's references

    Its gradient is an unbiased estimate of -∇ E[r(w)], since the baseline r(ŵ) does not depend on w; dropout, which is
    applied in the loss but not while sampling, biases it slightly. `<END>` counts as a word in r, so that truncated
    captions score lower. The noise is a function of (seed, step), so a batch is a function of (seed, step, parameters).

    Raises: DataError for a single image, since CIDEr-D weights n-grams by their document frequency.
    Source: Rennie et al. 2017, "Self-critical Sequence Training for Image Captioning", equations 6 to 8.
    """

    def __init__(
        self,
        model: CaptioningModel,
        batches: ShuffledBatches,
        vocab: Vocab,
        seed: int,
        max_length: int,
        pool: ThreadPool = SERIAL,
    ) -> None:
        self._model, self._batches, self._vocab, self._pool = model, batches, vocab, pool
        self._seed, self._max_length = seed, max_length
        self._images, references = batches.split.reference_ids(vocab)
        if len(references) < 2:
            raise DataError("train: expected at least 2 images for a CIDEr-D reward, got 1; add images")
        self._reward = CiderD(references)

    def batch(self, step: int, /) -> Batch:
        """Sample the batch of a step, with advantages as weights.

        `metrics` are the mean rewards and the fraction of non-zero advantages. Several ranks share the images, and then
        exchange their captions: all know the whole batch, and each returns its part.
        """
        vocab, ranks, rows = self._vocab, self._batches.ranks, self._batches.rows(step)
        images = self._batches.split.image_idxs[rows]
        _, inverse = np.unique(images, return_inverse=True)
        places = np.flatnonzero(inverse % ranks.size == ranks.rank)
        seed = int(np.random.default_rng((self._seed, 4, step)).integers(1 << 62))
        parts = ranks.all_gather((places, *self._rewarded(images[places], places, seed)))
        sampled_rows, *columns = map(np.concatenate, zip(*parts, strict=True))
        sampled, rewards, baseline = (column[np.argsort(sampled_rows)] for column in columns)
        weights = rewards - baseline
        starts = np.full((len(sampled), 1), vocab.start, sampled.dtype)
        metrics = {
            "reward": float(rewards.mean()),
            "greedy_reward": float(baseline.mean()),
            "advantages": float(np.count_nonzero(weights) / len(weights)),
        }
        captions = np.concatenate([starts, sampled], axis=1)
        part = part_of_rank(captions, images, vocab.null, ranks)
        kept = np.arange(len(rows)) if part is None else part.rows
        batch = take(self._batches.split, rows[kept])
        return batch._replace(captions=captions[kept], weights=weights[kept], metrics=metrics, part=part)

    def _rewarded(self, images: Array, places: Array, seed: int) -> tuple[Array, Array, Array]:
        """Sample a caption of each image; return the captions, their rewards, and those of the greedy captions.

        Shapes: images (N,), the places (N,) of the captions in the batch -> (N, T), (N,), (N,).
        """
        if not len(images):  # more ranks than images
            return np.empty((0, self._max_length), np.int32), np.empty(0), np.empty(0)
        split, vocab = self._batches.split, self._vocab
        unique, inverse = np.unique(images, return_inverse=True)
        arguments = decoding_arguments(vocab, self._max_length, Constraints([vocab.null, vocab.start]))
        features, regions = split.features[unique], read_regions(split.regions, images)
        decode = parallel_decoder(self._model, self._pool)
        sampled = decode(partial(sample, seed=seed, **arguments), features[inverse], places, regions=regions)[0][:, 0]
        by_image = None if regions is None else SharedRows.separate(regions.values)
        greedy_captions = decode(partial(greedy, **arguments), features, regions=by_image)[0][:, 0]
        place = np.searchsorted(self._images, unique)
        baseline = self._reward.score(place, vocab.unpadded(greedy_captions))[inverse]
        return sampled, self._reward.score(place[inverse], vocab.unpadded(sampled)), baseline
