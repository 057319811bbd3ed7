"""Self-critical training: the model's own captions, each rewarded for being better than its greedy one."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from captioner.arrays import Batch
from captioner.data.batches import ShuffledBatches
from captioner.decode import Constraints, greedy, sample
from captioner.decode.parallel import parallel_decoder
from captioner.errors import DataError
from captioner.metrics import CiderD
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.parallel.thread_pool import SERIAL, ThreadPool
from captioner.text.vocabulary import Vocab


class SelfCritical:
    """Batches of sampled captions with weights, by which the cross-entropy's gradient is that of the expected reward.

    Of each image of the underlying batch a caption w is drawn from the model, and the greedy one ŵ is written:

    loss = -1/N Σ_n (r(w_n) - r(ŵ_n)) Σ_t log P(w_nt | w before, image n),   r = CIDEr-D against the image's references

    Its gradient is an estimate of -∇ E[r(w)] without bias, since r(ŵ) does not depend on w; with dropout, which is in
    the loss but not in the drawing, it is only near to one. `<END>` counts as a word in r: else captions that break off
    would be as good as whole ones. The noise is a function of (seed, step), so a batch is one of (seed, step,
    parameters).

    Raises: DataError for a single image, whose n-grams tell nothing.
    Source: Rennie et al. 2017, "Self-critical Sequence Training for Image Captioning", equations 6 to 8.
    """

    def __init__(
        self,
        model: CaptioningRNN,
        batches: ShuffledBatches,
        vocab: Vocab,
        seed: int,
        max_length: int,
        pool: ThreadPool = SERIAL,
    ) -> None:
        self._model, self._batches, self._vocab, self._team = model, batches, vocab, pool
        self._seed, self._max_length = seed, max_length
        self._images, references = batches.split.reference_ids(vocab)
        if len(references) < 2:
            raise DataError("train: expected two or more images for CIDEr-D to be a reward, got 1; add some")
        self._reward = CiderD(references)

    def batch(self, step: int, /) -> Batch:
        """Features, sampled captions and their weights; figures are mean rewards, and the share of non-zero weights."""
        split, vocab = self._batches.split, self._vocab
        images = split.image_idxs[self._batches.rows(step)]
        distinct, of = np.unique(images, return_inverse=True)
        words: dict[str, Any] = {
            "start": vocab.start,
            "end": vocab.end,
            "null": vocab.null,
            "max_length": self._max_length,
            "constraints": Constraints([vocab.null, vocab.start]),
        }
        features = split.features[distinct]
        seed = int(np.random.default_rng((self._seed, 4, step)).integers(1 << 62))
        run = parallel_decoder(self._model, self._team)
        sampled = run(partial(sample, seed=seed, **words), features[of], np.arange(len(images)))[0][:, 0]
        likeliest = run(partial(greedy, **words), features)[0][:, 0]
        place = np.searchsorted(self._images, distinct)
        baseline = self._reward.score(place, vocab.unpadded(likeliest))[of]
        rewards = self._reward.score(place[of], vocab.unpadded(sampled))
        weights = rewards - baseline
        starts = np.full((len(sampled), 1), vocab.start, sampled.dtype)
        figures = {
            "reward": float(rewards.mean()),
            "greedy_reward": float(baseline.mean()),
            "advantages": float(np.count_nonzero(weights) / len(weights)),
        }
        return Batch(features[of], np.concatenate([starts, sampled], axis=1), weights, figures)
