"""The Captioner: a trained model, or an ensemble, with its vocabulary, decoder, re-ranker and image encoder."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from captioner import __version__
from captioner.arrays import Array, SharedRows
from captioner.config.overrides import Values, checked_values, override
from captioner.data.corpus import Features, Split, check_features, check_region_values, read_regions
from captioner.data.features import memory_of, open_features
from captioner.data.vocabulary import SPECIAL, Vocab, join
from captioner.decode import Reranker, parallel_decoding, rerank
from captioner.errors import CheckpointError, DataError, UsageError
from captioner.images.labels import Label, open_classifier
from captioner.inference.caption import (
    Attention,
    Candidate,
    Caption,
    NextWord,
    NextWords,
    check_attention,
)
from captioner.inference.decoder import build_decoder, word_ids
from captioner.inference.restore import LoadedModel, check_regions, check_width
from captioner.model.interface import State, StepFunction
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks, check_same
from captioner.parallel.thread_pool import ThreadPool

if TYPE_CHECKING:
    from captioner.images.encoders import Encoded, Encoder

BATCH = 256
"""Captions per thread that are decoded at a time."""
PHOTO_BATCH = 16
"""Photographs per thread that are decoded together: few, so that the first captions appear soon."""
BEST_ALONE: Values = {"caption.n_best": 1, "caption.attention": False, "caption.labels": 0}
"""Options for the best caption alone."""
Photo = str | os.PathLike[str]
Photos = list[Photo] | tuple[Photo, ...]


class Candidates(NamedTuple):
    """A batch of images, with their candidate captions, best first.

    Shapes: rows (N,), features (N, F), regions of N rows, tokens (N, K, T), log_probs (N, K); -inf if there is none.
    """

    rows: Array
    features: Array
    regions: SharedRows | None
    tokens: Array
    log_probs: Array


class Captioner:
    """A model or an ensemble that captions photographs and rows of image features.

    The decoder follows the options in `decode.*`; with a re-ranker, beam candidates are ordered by consensus
    re-ranking. The weights are laid out for decoding once: after further training, make another Captioner. `warnings`
    are what a user should know before reading the captions.
    """

    def __init__(self, loaded: LoadedModel, reranker: Reranker | None = None, warnings: Sequence[str] = ()) -> None:
        self.loaded, self.reranker, self.warnings = loaded, reranker, (*loaded.warnings, *warnings)
        self._pool = ThreadPool(loaded.config.threads)
        self._decode = parallel_decoding(loaded.model, self._pool)

    def __repr__(self) -> str:
        config, meta = self.loaded.config, self.loaded.meta
        words = len(self.loaded.vocab) - len(SPECIAL)
        return (
            f"Captioner({str(self.loaded.path)!r}: {config.model.decoder}, {words:,} words, encoder {meta.encoder!r})"
        )

    def with_options(self, values: Values, places: Mapping[str, str] = {}) -> Captioner:
        """Return a Captioner with other options of `decode.*` and `caption.*`, which shares the model and its workers.

        Raises: ConfigError, as `override`.
        """
        other = Captioner.__new__(Captioner)
        vars(other).update(vars(self))
        config = override(self.loaded.config, values, places)
        other.loaded = replace(self.loaded, config=config)
        other.reranker = self.reranker if config.decode.consensus else None
        return other

    @overload
    def caption(
        self, images: Photo, *, n_best: int | None = None, attention: bool | None = None, labels: int | None = None
    ) -> Caption | Any: ...
    @overload
    def caption(
        self,
        images: Photos | None = None,
        *,
        features: Array | None = None,
        regions: Array | None = None,
        n_best: int | None = None,
        attention: bool | None = None,
        labels: int | None = None,
    ) -> list[Caption]: ...
    def caption(
        self,
        images: Photo | Photos | None = None,
        *,
        features: Array | None = None,
        regions: Array | None = None,
        n_best: int | None = None,
        attention: bool | None = None,
        labels: int | None = None,
    ) -> Caption | list[Caption]:
        """Caption a photograph, a list of photographs, or rows of image features and, for attention, regions.

        A folder, alone or in a list, is a list of its photographs, as for `captioner sample`. A photograph is encoded
        by the encoder of the training images. A row of features is named by its number. `n_best`, `attention` and
        `labels` are the options of `caption.*`, by default those of the config: the number of candidates, whether a
        caption has the attention weights of its words (further candidates have none), and the number of ImageNet
        labels. A model of generated scenes warns if it is given photographs.

        Shapes: features (N, F) and regions (N, rows, columns, R), or (F,) and (rows, columns, R) for one image.
        Raises: DataError for a photograph that cannot be read, or features that are not finite floats; CheckpointError
        for features or regions of another shape, and for `attention` of a model without it; UsageError for an encoder
        that is not found or, with `labels`, has no classes; ConfigError for an option out of bounds.
        """
        options = {"caption.n_best": n_best, "caption.attention": attention, "caption.labels": labels}
        asked = {path: value for path, value in options.items() if value is not None}
        captioner = self.with_options(checked_values(asked)) if asked else self
        if (images is None) == (features is None):
            raise UsageError("caption: expected photographs or features=, one of them")
        if regions is not None and features is None:
            raise UsageError("caption: regions= needs features=; photographs have the regions of their encoder")
        if captioner.loaded.config.caption.attention:
            check_attention(self.loaded)
        if features is not None:
            rows, grids = self._checked(features, regions, "caption")
            return list(captioner.decode(rows, regions=grids))
        is_single = isinstance(images, str | os.PathLike) and not os.path.isdir(images)
        paths = [Path(image) for image in ([images] if isinstance(images, str | os.PathLike) else images or ())]
        from captioner.inference.photographs import photo_paths, photo_warning

        if paths and (warning := photo_warning(self.loaded)) is not None:
            warnings.warn(warning, stacklevel=2)
        captions: list[Caption] = []
        for caption in captioner.caption_photos(photo_paths(paths), self.encoder):
            if isinstance(caption, DataError):
                raise caption
            captions.append(caption)
        return captions[0] if is_single else captions

    def next_words(
        self,
        image: Photo | None = None,
        words: str | Sequence[str] = (),
        n: int = 10,
        *,
        features: Array | None = None,
        regions: Array | None = None,
    ) -> NextWords:
        """Return the `n` most probable next words of an image's caption that begins with `words`.

        The image is a photograph, or a row of features and, for attention, regions. `words` are words of the
        vocabulary, or a text. The probabilities are those of the model: options in `decode.*` have no effect, so
        `<UNK>` can be among the words. `<END>` ends the caption.

        Shapes: features (F,) or (1, F), regions (rows, columns, R) or (1, rows, columns, R).
        Raises: as `caption`; UsageError for a word that the vocabulary lacks, n below 1, or several images.
        """
        vocab = self.loaded.vocab
        if n < 1:
            raise UsageError(f"next_words: n: expected at least 1, got {n}")
        if (image is None) == (features is None):
            raise UsageError("next_words: expected a photograph or features=, one of them")
        if isinstance(words, str):
            from captioner.data.tokenizer import tokenize  # captioning does not need its large patterns

            words = tokenize(words)
        ids = [vocab.start, *word_ids(words, vocab)]
        if image is not None:
            from captioner.images.encoders import encode_photos  # needs Pillow
            from captioner.inference.photographs import photo_warning

            if (warning := photo_warning(self.loaded)) is not None:
                warnings.warn(warning, stacklevel=2)
            (photo,) = encode_photos(self.encoder, [Path(image)], regions=True)
            if isinstance(photo, DataError):
                raise photo
            features, regions = photo.features, photo.regions if self.loaded.meta.region_dim else None
        rows, grids = self._checked(features, regions, "next_words")
        if len(rows) != 1:
            raise UsageError(f"next_words: expected the features of one image, got {len(rows)} rows")
        self._check_has_regions(grids)
        shared = read_regions(grids, np.arange(1))

        def read(step: StepFunction, state: State) -> tuple[Array, Array]:
            for token in ids:
                log_probs, state = step(np.array([token]), state)
            return np.argsort(-log_probs, axis=1, kind="stable")[:, :n], np.exp(log_probs.astype(float))

        (best,), (probabilities,) = self._decode(read, rows, regions=shared)
        self._check_finite(probabilities)
        candidates = [NextWord(vocab.words[i], float(probabilities[i])) for i in best.tolist()]
        if grids is None:
            return NextWords(candidates)
        weights = self.loaded.model.attention_weights(rows, np.array([[*ids, vocab.end]]), shared, self._pool)[0, -1:]
        return NextWords(candidates, Attention([candidates[0].word], weights, grids.shape[1:3]))

    def caption_photos(
        self,
        photos: Iterable[Path | DataError],
        encoder: Encoder,
        limit: int | None = None,
        ranks: Ranks = SINGLE_PROCESS,
    ) -> Iterator[Caption | DataError]:
        """Caption photographs, or the first `limit` of them, in order, as `decode`.

        An unreadable photograph yields its error in its place; errors already in `photos` come at the end. With several
        ranks, batches of the photographs of rank 0 are distributed, and rank 0 yields all captions.

        Raises: as `check_features` and `decode`; UsageError, if the ranks have other models or options.
        """
        from captioner.images.encoders import encode_photos  # needs Pillow

        failed: list[DataError] = []

        def paths() -> Iterator[Path]:
            for photo in photos:
                if isinstance(photo, DataError):
                    failed.append(photo)
                else:
                    yield photo

        threads = self.loaded.config.threads
        size = PHOTO_BATCH * threads

        def captions(paths: Iterable[Path]) -> Iterator[Caption | DataError]:
            encoded = encode_photos(encoder, paths, threads, regions=True)
            while batch := list(islice(encoded, size)):
                readable = [photo for photo in batch if not isinstance(photo, DataError)]
                decoded = self.decode_photos(readable, encoder.identity)
                for photo in batch:
                    yield photo if isinstance(photo, DataError) else next(decoded)._replace(image=os.fspath(photo.path))

        check_same(
            ranks,
            {
                "checkpoint": self.loaded.meta,
                "encoder": encoder.identity,
                "decoding options": (self.loaded.config.decode, self.loaded.config.caption),
                "threads": threads,  # they determine the batches, and so the rounding
                "version": __version__,
            },
        )
        limited = islice(paths(), None if limit is None else min(limit, sys.maxsize))
        yield from ranks.share(captions, limited if ranks.rank == 0 else (), size)
        yield from failed

    def caption_split(
        self,
        split: Split,
        limit: int | None = None,
        vocab: Vocab | None = None,
        index_rows: Array | None = None,
    ) -> Iterator[Caption]:
        """Caption the images of a split, or the first `limit` of them, in file order.

        `vocab` is the vocabulary of the data set, by default that of the model; `index_rows` are those of `search`.
        """
        rows = np.arange(split.features.shape[0])[:limit]
        captions = self.decode(split.features, regions=split.regions, rows=rows, index_rows=index_rows)
        for row, caption in zip(rows.tolist(), captions, strict=True):
            references = split.references(row, vocab or self.loaded.vocab)
            true = None if split.is_true is None else split.is_true(row, caption.text.split())
            yield caption._replace(image=split.image_ids[row], references=references, true=true)

    def caption_features(self, path: Path, limit: int | None = None) -> Iterator[Caption]:
        """Caption the rows of `features` in an HDF5 file, or the first `limit` of them, with `regions` for attention.

        Raises: DataError, or CheckpointError when the rows have another shape than the model expects.
        """
        memory_mib = self.loaded.config.data.memory_mib
        features, regions = open_features(path, memory_mib=memory_mib), None
        if self.loaded.meta.region_dim:
            regions = open_features(path, "regions", max(0, memory_mib - memory_of(features)), ndim=4)
        self.check_features(features, str(path), limit, regions)
        rows = np.arange(features.shape[0])[:limit]
        yield from self.decode(features, regions=regions, rows=rows)

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder of the training images. Raises: UsageError when it is not found."""
        from captioner.inference.photographs import open_encoder_of

        return open_encoder_of(self.loaded)

    def check_features(
        self, features: Features, where: str, limit: int | None = None, regions: Features | None = None
    ) -> None:
        """Check the first `limit` rows of features, and of regions if the model attends to them.

        Raises: DataError for numbers that are not finite floats, CheckpointError for another shape.
        """
        check_features(features, f"{where}: features", limit)
        check_width(self.loaded, features.shape[1], where)
        if regions is not None:
            check_region_values(regions, features, f"{where}: regions", limit)
            check_regions(self.loaded, regions.shape[-1], regions.shape[1:-1])

    def _checked(self, features: Any, regions: Any, where: str) -> tuple[Array, Array | None]:
        """Convert features and regions of one image or of several to those of several, and check them."""
        rows = _batch(features, "features")
        grids = None if regions is None else _batch(regions, "regions")
        if grids is not None and not self.loaded.meta.region_dim:
            raise UsageError(f"{where}: regions= has no effect on a model without attention; leave it out")
        self.check_features(rows, where, regions=grids)
        return rows, grids

    def _check_has_regions(self, regions: Features | None) -> None:
        """Raises: CheckpointError for a model with attention without regions."""
        if regions is None and self.loaded.meta.region_dim:
            raise CheckpointError(
                f"{self.loaded.path}: model.attention {self.loaded.config.model.attention}: expected features with "
                "image regions, got features alone; add the regions, or use a model without attention"
            )

    def _check_finite(self, probabilities: Array) -> None:
        """Raises: CheckpointError for probabilities or log-probabilities that are not finite."""
        if not np.isfinite(probabilities).all():
            raise CheckpointError(
                f"{self.loaded.path}: expected finite log-probabilities from the model, got NaN or infinity: "
                "its parameters are too large; use another checkpoint"
            )

    def decode(
        self,
        features: Features,
        noise_keys: Array | None = None,
        regions: Features | None = None,
        rows: Array | None = None,
        index_rows: Array | None = None,
    ) -> Iterator[Caption]:
        """Decode rows of features, a batch at a time: the best caption of each, with what the options of
        `caption.*` add.

        An image is named by its row. Without `rows`, which are in ascending order, all rows are decoded. The beam is
        widened to the number of candidates if needed. Log-probabilities are the model's own, whatever ranks the
        captions. `noise_keys` seed the random numbers of sampling per image, by default the row numbers. `index_rows`
        are those of `search`. The features are not checked here.

        Shapes: features (N, F), noise_keys (N,), regions (N, rows, columns, R) for a model with attention, rows (R,).
        Raises: ConfigError for banned words that the vocabulary lacks, CheckpointError for log-probabilities that are
        not finite, or a model with attention without regions; UsageError for `labels` of an encoder without classes.
        """
        vocab, familiarity = self.loaded.vocab, self.loaded.familiarity
        options, threshold = self.loaded.config.caption, self.loaded.config.decode.unfamiliar_below
        classifier = open_classifier(self.loaded.meta.encoder) if options.labels else None
        rows = np.arange(features.shape[0]) if rows is None else rows
        for batch in self.search(features, rows, noise_keys, regions, index_rows):
            count = len(batch.rows)
            maps: list[Attention | None] = [None] * count
            if options.attention and regions is not None:
                maps[:] = self._attention(batch, regions.shape[1:3])
            percentiles: list[float | None] = [None] * count
            if familiarity is not None:
                percentiles = familiarity.percentile(batch.features).tolist()
            classes: Sequence[Sequence[Label]] = [()] * count
            if classifier is not None:
                classes = classifier.labels(batch.features, options.labels)
            columns = batch.rows.tolist(), batch.tokens.tolist(), batch.log_probs.tolist(), maps, percentiles, classes
            for row, captions, scores, weights, percentile, names in zip(*columns, strict=True):
                pairs = zip(captions[: options.n_best], scores, strict=False)
                candidates = [Candidate(join(vocab.decode(ids)), score) for ids, score in pairs if score > -np.inf]
                is_unfamiliar = percentile is not None and percentile < threshold
                yield Caption(str(row), *candidates[0], [], None, candidates, weights, percentile, is_unfamiliar, names)

    def _attention(self, batch: Candidates, grid: tuple[int, ...]) -> list[Attention]:
        """Compute the attention of the best captions of a batch in one teacher-forced pass."""
        vocab, tokens = self.loaded.vocab, batch.tokens[:, 0]
        captions = np.insert(tokens, 0, vocab.start, axis=1)
        weights = self.loaded.model.attention_weights(batch.features, captions, batch.regions, self._pool)
        words = map(vocab.decode, tokens.tolist())
        height, width = grid
        return [Attention(line, rows[: len(line)], (height, width)) for line, rows in zip(words, weights, strict=True)]

    def decode_photos(self, photos: Sequence[Encoded], encoder: str) -> Iterator[Caption]:
        """Decode encoded photographs, as `decode`; `encoder` is the identity of their encoder.

        Raises: as `check_features` and `decode`.
        """
        if not photos:
            return
        features = np.stack([photo.features for photo in photos])
        regions = None
        if self.loaded.meta.region_dim:
            regions = np.stack([photo.regions for photo in photos if photo.regions is not None])
        self.check_features(features, encoder, regions=regions)
        # A photograph is identified by its content: its samples depend on neither its name nor the order.
        noise_keys = np.array([int.from_bytes(photo.digest[:8], "little") for photo in photos], np.uint64)
        yield from self.decode(features, noise_keys, regions)

    def search(
        self,
        features: Features,
        rows: Array,
        noise_keys: Array | None = None,
        regions: Features | None = None,
        index_rows: Array | None = None,
    ) -> Iterator[Candidates]:
        """Decode some rows of features, in ascending order, a batch at a time: all candidates of each, best first.

        `index_rows[i]` is the row of image i in the re-ranking index, which is left out of its own consensus; -1: image
        i is not in the index. The other arguments are those of `decode`.

        Shapes: rows (R,) below N, index_rows (N,).
        Raises: as `decode`.
        """
        self._check_has_regions(regions)
        options, vocab = self.loaded.config.decode, self.loaded.vocab
        decode, width = build_decoder(options, vocab, self.loaded.config.caption.n_best)
        size = self._pool.size * max(1, BATCH // width)
        for first in range(0, len(rows), size):
            chosen = rows[first : first + size]
            batch, grids = features[chosen], read_regions(regions, chosen)
            keys = chosen if noise_keys is None else noise_keys[chosen]
            arrays = [keys]
            if self.reranker is not None:
                weights = self.reranker.weights(batch, None if index_rows is None else index_rows[chosen])
                if options.guidance:
                    arrays.append(options.guidance * self.reranker.expected_tfidf(weights, len(vocab)))
            tokens, log_probs = self._decode(decode, batch, *arrays, regions=grids)
            self._check_finite(log_probs[:, 0])
            if self.reranker is not None:
                expected = self.reranker.expected_cider(weights, list(map(vocab.unpadded, tokens)))
                weight, penalty = options.consensus, options.length_penalty
                tokens, log_probs = rerank(tokens, log_probs, expected, vocab.null, weight, penalty)
            yield Candidates(chosen, batch, grids, tokens, log_probs)


AXES = {"features": 2, "regions": 4}
"""The axes of several images."""


def _batch(values: Any, name: str) -> Array:
    """Convert features or regions of one image, or of several, to those of several."""
    array = np.asarray(values)
    return array[None] if array.ndim == AXES[name] - 1 else array
