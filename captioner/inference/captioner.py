"""The Captioner: a trained model, or an ensemble, with its vocabulary, decoder, re-ranker and image encoder."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, overload

import numpy as np

from captioner.arrays import Array
from captioner.data.corpus import Features, check_features, read_regions
from captioner.decode import Reranker, rerank
from captioner.decode.parallel import parallel_decoder
from captioner.errors import CheckpointError, DataError, UsageError
from captioner.inference.arguments import described, several_paths, whole_number
from captioner.inference.caption import Candidate, Caption
from captioner.inference.decoder import build_decoder
from captioner.inference.restore import LoadedModel, check_width
from captioner.parallel.thread_pool import ThreadPool
from captioner.text.join import join
from captioner.text.vocabulary import SPECIAL

if TYPE_CHECKING:
    from captioner.images.encoder import Encoder

BATCH = 256
"""Captions per thread that are decoded at a time."""
MAX_N_BEST = 100
Photo = str | os.PathLike[str]
Photos = list[Photo] | tuple[Photo, ...]


class Captioner:
    """A model or an ensemble that captions photographs and rows of image features.

    The decoder follows the options in `decode.*`; with a re-ranker, beam candidates are ordered by consensus
    re-ranking. The weights are laid out for decoding once: after further training, make another Captioner. `warnings`
    are what a user should know before reading the captions.
    """

    def __init__(self, loaded: LoadedModel, reranker: Reranker | None = None, warnings: Sequence[str] = ()) -> None:
        self.loaded, self.reranker, self.warnings = loaded, reranker, tuple(warnings)
        self._pool = ThreadPool(loaded.config.threads)
        self._decode = parallel_decoder(loaded.model, self._pool)

    def __repr__(self) -> str:
        config, meta = self.loaded.config, self.loaded.meta
        words = len(self.loaded.vocab) - len(SPECIAL)
        return f"Captioner({str(self.loaded.path)!r}: {config.model.cell}, {words:,} words, encoder {meta.encoder!r})"

    @overload
    def caption(self, images: Photo, *, n_best: int = 1) -> Caption: ...
    @overload
    def caption(self, images: Photos, *, n_best: int = 1) -> list[Caption]: ...
    @overload
    def caption(self, *, features: Array, n_best: int = 1) -> list[Caption]: ...
    def caption(
        self, images: Photo | Photos | None = None, *, features: Array | None = None, n_best: int = 1
    ) -> Caption | list[Caption]:
        """Caption a photograph, a list of photographs, or rows of image features.

        A photograph is encoded by the encoder of the training images. A row of features is named by its number.

        Shapes: features (N, F), or (F,) for one image.
        A model of generated drawings warns if it is given photographs.

        Raises: DataError for a photograph that cannot be read, or features that are not finite floats; CheckpointError
        for features of another width; UsageError for an encoder that is not found, or `n_best` outside 1 to 100;
        TypeError for arguments of another type.
        """
        n_best = whole_number(n_best, "caption: n_best")
        if not 1 <= n_best <= MAX_N_BEST:
            raise UsageError(f"caption: n_best: expected 1 to {MAX_N_BEST}, got {n_best}")
        if (images is None) == (features is None):
            raise UsageError("caption: expected photographs or features=, one of them")
        if features is not None:
            rows = _matrix(features)
            self.check_features(rows, "caption")
            found = self.candidates(rows, n_best)
            return [Caption(str(row), *best[0], [], None, best) for row, best in enumerate(found)]
        paths = several_paths(images, "caption: images")
        from captioner.inference.photos import caption_photos, photo_paths, photo_warning
        from captioner.preparation.find_photos import Unreadable

        one = isinstance(images, str | os.PathLike)
        if paths and (warning := photo_warning(self.loaded)) is not None:
            warnings.warn(warning, stacklevel=2)
        captions: list[Caption] = []
        for caption in caption_photos(self, self.encoder, photo_paths(paths), n_best):
            if isinstance(caption, Unreadable):
                raise DataError(str(caption))
            captions.append(caption)
        return captions[0] if one else captions

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder of the training images.

        Raises: UsageError when it is not found.
        """
        from captioner.inference.photos import open_encoder_of

        return open_encoder_of(self.loaded)

    def check_features(self, features: Features, where: str, limit: int | None = None) -> None:
        """Check the first `limit` rows of features.

        Raises: DataError for features that are not finite floats, CheckpointError for another width.
        """
        check_features(features, f"{where}: features", limit)
        check_width(self.loaded, features.shape[1], where)

    def candidates(
        self,
        features: Features,
        n_best: int = 1,
        limit: int | None = None,
        image_ids: Array | None = None,
        regions: Features | None = None,
    ) -> Iterator[list[Candidate]]:
        """Decode rows of features, or the first `limit` of them, a batch at a time: the `n_best` captions of each.

        The beam is widened to `n_best` if needed. Log-probabilities are the model's own, whatever ranks the captions.
        `image_ids` seed the random numbers of sampling per image, by default the row numbers. The features are not
        checked here.

        Shapes: features (N, F), image_ids (N,), regions (N, L, R) for a model with attention.
        Raises: ConfigError for banned words that the vocabulary lacks, CheckpointError for log-probabilities that are
        not finite, or a model with attention without regions.
        """
        if regions is None and self.loaded.meta.region_dim:
            raise CheckpointError(
                f"{self.loaded.path}: model.attention {self.loaded.config.model.attention} needs image regions, which "
                "only the images of its data set have; try a model without attention"
            )
        options, vocab = self.loaded.config.decode, self.loaded.vocab
        decode, width = build_decoder(options, vocab, n_best)
        count, size = min(features.shape[0], limit or features.shape[0]), self._pool.size * max(1, BATCH // width)
        for first in range(0, count, size):
            rows = np.arange(first, min(first + size, count))
            batch = features[rows]
            ids = rows if image_ids is None else image_ids[rows]
            tokens, log_probs = self._decode(decode, batch, ids, regions=read_regions(regions, rows))
            if not np.isfinite(log_probs[:, 0]).all():
                raise CheckpointError(
                    f"{self.loaded.path}: expected finite log-probabilities from the model, got others: "
                    "its parameters are too large; use another checkpoint"
                )
            if self.reranker is not None:
                expected = self.reranker.expected_cider(batch, list(map(vocab.unpadded, tokens)))
                weight, penalty = options.consensus, options.length_penalty
                tokens, log_probs = rerank(tokens, log_probs, expected, vocab.null, weight, penalty)
            for captions, scores in zip(tokens.tolist(), log_probs.tolist(), strict=True):
                pairs = zip(captions[:n_best], scores, strict=False)
                yield [Candidate(join(vocab.decode(ids)), score) for ids, score in pairs if score > -np.inf]


def _matrix(features: Array) -> Array:
    """Convert the features of one image (F,) or of several (N, F) to a matrix. Raises: TypeError."""
    try:
        return np.atleast_2d(features)
    except ValueError:  # a ragged list
        raise TypeError(f"caption: features: expected an array (images, feature), got {described(features)}") from None
