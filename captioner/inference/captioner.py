"""Captions of image features: a model with its decoder and re-ranker, laid out once for all that it captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from captioner.arrays import Array
from captioner.data.corpus import Features
from captioner.decode import Reranker, rerank
from captioner.decode.parallel import parallel_decoder
from captioner.errors import CheckpointError
from captioner.inference.decoder import build_decoder
from captioner.inference.restore import Speaker
from captioner.parallel.thread_pool import ThreadPool
from captioner.text.tokenizer import join

BATCH = 256
"""Images, or captions of them, that a thread decodes at a time."""


class Captioner:
    """A model, or an ensemble, that captions rows of features as its options say, re-ranked where a re-ranker is given.

    The weights are laid out when they are first needed, and stay as they were then: make another one of a model that
    has been trained further. `warnings` are what a user should know before reading the captions.
    """

    def __init__(self, speaker: Speaker, reranker: Reranker | None = None, warnings: Sequence[str] = ()) -> None:
        self.speaker, self.reranker, self.warnings = speaker, reranker, tuple(warnings)
        self._team = ThreadPool(speaker.config.threads)
        self._decode = parallel_decoder(speaker.model, self._team)

    def caption(
        self, features: Features, n_best: int = 1, most: int | None = None, images: Array | None = None
    ) -> Iterator[list[tuple[str, float]]]:
        """The `n_best` captions of each row (or of the first `most`) with their log-probabilities, best first.

        They are those of a beam at least so wide, or so many samples, likeliest first; a log-probability is the model's
        own, whatever captions are ranked by. The features are not checked here, but where they come from. `images`
        numbers the rows for the noise of samples, by default in their order.

        Shapes: features (N, F) as the encoder made them, images (N,).
        Raises: ConfigError for words to suppress that are none of the vocabulary, CheckpointError for a model whose
        log-probabilities are not finite.
        """
        options, vocab = self.speaker.config.decode, self.speaker.vocab
        decode, width = build_decoder(options, vocab, n_best)
        count, size = min(features.shape[0], most or features.shape[0]), self._team.size * max(1, BATCH // width)
        for first in range(0, count, size):
            rows = np.arange(first, min(first + size, count))
            some = features[rows]
            tokens, scores = self._decode(decode, some, rows if images is None else images[rows])
            if not np.isfinite(scores[:, 0]).all():
                raise CheckpointError(
                    f"{self.speaker.path}: expected captions of finite probability from the model, got another: "
                    "its numbers are too large; use another checkpoint"
                )
            if self.reranker is not None:
                expected = self.reranker.expected_cider(some, list(map(vocab.unpadded, tokens)))
                tokens, scores = rerank(tokens, scores, expected, vocab.null, options.consensus, options.length_penalty)
            for captions, log_probs in zip(tokens.tolist(), scores.tolist(), strict=True):
                pairs = zip(captions[:n_best], log_probs, strict=False)
                yield [(join(vocab.decode(ids)), log_prob) for ids, log_prob in pairs if log_prob > -np.inf]
