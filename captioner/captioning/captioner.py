"""The Captioner: a trained model, or an ensemble, with its vocabulary and decoding method."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self, TypedDict, TypeVar, Unpack, overload

import numpy as np

from captioner.arrays import Array, Batch
from captioner.captioning.caption import Attention, Candidate, Caption, marks_of
from captioner.captioning.decoding import decoding_method
from captioner.captioning.load import check_attention, check_regions, check_summary, check_width, without_summary
from captioner.captioning.saved_model import LoadedModel
from captioner.captioning.training_summary import SharesOfRows
from captioner.config.options import GUIDED
from captioner.config.overrides import Values, checked_values, override
from captioner.data.corpus import Features, Split, check_features, check_region_values, read_regions
from captioner.data.features import memory_of, open_features
from captioner.data.vocabulary import SPECIAL, Vocab, join
from captioner.decode import parallel_decoding
from captioner.decode.word_regression import DECIMALS
from captioner.errors import CheckpointError, UsageError
from captioner.parallel.thread_pool import ThreadPool

T = TypeVar("T")
BATCH = 256
"""Captions per thread that are decoded at a time."""
BEST_ALONE: Values = {"caption.n_best": 1, "caption.attention": False}
"""Options for the best caption alone."""


class ImageBatch(NamedTuple):
    """Images that are captioned together.

    `names` are those of their captions; `noise_keys` seed the random numbers of sampling. `shares` are the expected
    shares of words, if they are not those of the model's training summary. `digests` are those of photographs.

    Shapes: names (N,), features (N, F), noise_keys (N,), regions (N, rows, columns, R) for a model with attention,
    shares (N, V).
    """

    names: Sequence[str]
    features: Array
    noise_keys: Array
    regions: Array | None = None
    shares: Array | None = None
    digests: Sequence[str] = ()


class CaptionOptions(TypedDict, total=False):
    """Options of `caption.*` as arguments: the number of candidates, and whether a caption has the attention weights of
    its words; further candidates have none.
    """

    n_best: int | None
    attention: bool | None


class Captioner:
    """A model or an ensemble that captions rows of image features.

    The decoding method follows the options in `decode.*`. The weights are laid out for decoding once: after further
    training, make another Captioner. `warnings` are what a user should know before reading the captions.

    Raises: ConfigError for banned words that the vocabulary lacks.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded, self.warnings = loaded, (*loaded.warnings, *missing_summary(loaded))
        self._pool = ThreadPool(loaded.config.threads)
        self._decode = parallel_decoding(loaded.model, self._pool)
        self._method = decoding_method(loaded.config.decode, loaded.vocab, loaded.config.caption.n_best)

    def __repr__(self) -> str:
        config, meta = self.loaded.config, self.loaded.meta
        words = len(self.loaded.vocab) - len(SPECIAL)
        path = str(self.loaded.path)
        return f"Captioner({path!r}: {config.model.decoder}, {words:,} words, encoder {meta.encoder!r})"

    def with_options(self, values: Values, places: Mapping[str, str] = {}) -> Self:
        """Return a Captioner with other options of `decode.*` and `caption.*`, which shares the model and its workers.

        Raises: ConfigError, as `override`, and for banned words that the vocabulary lacks; as `check_summary`.
        """
        other, config = copy(self), override(self.loaded.config, values, places)
        other.loaded = replace(self.loaded, config=config, changed={**self.loaded.changed, **values})
        check_summary(other.loaded)
        other._method = decoding_method(config.decode, self.loaded.vocab, config.caption.n_best)
        return other

    @property
    def batch_size(self) -> int:
        """The number of images that are decoded at a time."""
        return self._pool.size * max(1, BATCH // self._method.width)

    def caption(
        self, *, features: Array, regions: Array | None = None, **options: Unpack[CaptionOptions]
    ) -> list[Caption]:
        """Caption rows of image features and, for attention, regions. A row is named by its number.

        `options` are those of `caption.*`, by default those of the config.

        Shapes: features (N, F) and regions (N, rows, columns, R), or (F,) and (rows, columns, R) for one image.
        Raises: DataError for features that are not finite floats; CheckpointError for features or regions of another
        shape, and for `attention` of a model without it; ConfigError for an option out of bounds.
        """
        captioner = self.with_caption_options(options)
        return list(captioner.captions(captioner.rows("caption", features, regions)))

    def with_caption_options(self, options: CaptionOptions) -> Self:
        """Return a Captioner with the options that are not None. Raises: as `caption`."""
        values = {f"caption.{name}": value for name, value in options.items() if value is not None}
        captioner = self.with_options(checked_values(values)) if values else self
        if captioner.loaded.config.caption.attention:
            check_attention(self.loaded)
        return captioner

    def rows(self, where: str, features: Array, regions: Array | None) -> Iterator[ImageBatch]:
        """Return the images of a call, `where` in messages. Raises: as `checked_arrays`."""
        return row_batches(self.batch_size, *checked_arrays(self.loaded, features, regions, where))

    def caption_split(
        self,
        split: Split,
        limit: int | None = None,
        vocab: Vocab | None = None,
        shares: SharesOfRows | None = None,
    ) -> Iterator[Caption]:
        """Caption the images of a split, or the first `limit` of them, in file order.

        `vocab` is the vocabulary of the data set, by default that of the model; `shares` returns the `shares` of an
        `ImageBatch`.
        """
        rows = np.arange(split.features.shape[0])[:limit]
        captions = self.decode(split.features, split.regions, rows, shares)
        for row, caption in zip(rows.tolist(), captions, strict=True):
            references = split.references(row, vocab or self.loaded.vocab)
            correct = None if split.is_correct is None else split.is_correct(row, caption.text.split())
            yield caption._replace(image=split.image_ids[row], references=references, correct=correct)

    def caption_features(self, path: Path, limit: int | None = None) -> Iterator[Caption]:
        """Caption the rows of `features` in an HDF5 file, or the first `limit` of them, with `regions` for attention.

        Raises: DataError, or CheckpointError when the rows have another shape than the model expects.
        """
        memory_mib = self.loaded.config.data.memory_mib
        features, regions = open_features(path, memory_mib=memory_mib), None
        if self.loaded.meta.region_dim:
            regions = open_features(path, "regions", max(0, memory_mib - memory_of(features)), ndim=4)
        check_images(self.loaded, features, str(path), limit, regions)
        yield from self.decode(features, regions, np.arange(features.shape[0])[:limit])

    def decode(
        self,
        features: Features,
        regions: Features | None = None,
        rows: Array | None = None,
        shares: SharesOfRows | None = None,
    ) -> Iterator[Caption]:
        """Caption rows of features, which are not checked here; the arguments are those of `row_batches`.

        Raises: as `captions`.
        """
        return self.captions(row_batches(self.batch_size, features, regions, rows, shares))

    @overload
    def captions(self, batches: Iterable[ImageBatch]) -> Iterator[Caption]: ...
    @overload
    def captions(self, batches: Iterable[ImageBatch | T]) -> Iterator[Caption | T]: ...
    def captions(self, batches: Iterable[ImageBatch | T]) -> Iterator[Caption | T]:
        """Caption batches of images, with `caption.n_best` candidates each and, if asked for, attention.

        What is among the batches, such as the errors of photographs, is yielded in its place.

        The beam is widened to the number of candidates if needed. Log-probabilities are the model's own, whatever ranks
        the captions.

        Raises: CheckpointError for log-probabilities that are not finite, or a model with attention without regions.
        """
        vocab, options, decode = self.loaded.vocab, self.loaded.config.caption, self.loaded.config.decode
        for batch in batches:
            if not isinstance(batch, ImageBatch):
                yield batch
                continue
            shares = self._shares(batch)
            tokens, log_probs = self._search(batch, shares)
            known = self._known(batch, shares, tokens)
            for n, (name, ids, scores) in enumerate(zip(batch.names, tokens.tolist(), log_probs.tolist(), strict=True)):
                pairs = zip(ids[: options.n_best], scores, strict=False)
                candidates = [Candidate(join(vocab.decode(words)), score) for words, score in pairs if score > -np.inf]
                fields = {field: values[n] for field, values in known.items()}
                caption = Caption(name, *candidates[0], [], None, candidates, **fields)
                yield caption._replace(marks=marks_of(caption, decode))

    def _known(self, batch: ImageBatch, shares: Array | None, tokens: Array) -> dict[str, Sequence[Any]]:
        """Return what is known of images and their captions, by the fields of `Caption`. Shapes: tokens (N, K, T)."""
        known: dict[str, Sequence[Any]] = {"digest": batch.digests} if batch.digests else {}
        summary, options = self.loaded.summary, self.loaded.config.caption
        if options.attention and batch.regions is not None:
            known["attention"] = self._attention(batch, tokens[:, 0])
        if summary is not None and shares is not None:
            similarity = summary.regression.similarity(tokens[:, :1], shares)[:, 0]
            known["similarity"] = np.maximum(similarity, 0).round(DECIMALS).tolist()
            known["keywords"] = summary.regression.keywords(shares, options.keywords_above)
            known |= {"shares": summary.regression.largest(shares)} if batch.digests else {}
        if summary is not None and summary.familiarity is not None:
            known["familiarity"] = summary.familiarity.percentile(summary.unit_rows(batch.features)).tolist()
        return known

    def _attention(self, batch: ImageBatch, tokens: Array) -> list[Attention]:
        """Compute the attention of captions in one teacher-forced pass. Shapes: tokens (N, T)."""
        assert batch.regions is not None
        captions = np.insert(tokens, 0, self.loaded.vocab.start, axis=1)
        words = map(self.loaded.vocab.decode, tokens.tolist())
        weights, grid = self.attention_weights(batch, captions), batch.regions.shape[1:3]
        return [Attention(line, rows[: len(line)], grid) for line, rows in zip(words, weights, strict=True)]

    def attention_weights(self, batch: ImageBatch, captions: Array) -> Array:
        regions = read_regions(batch.regions, np.arange(len(captions)))
        return self.loaded.model.attention_weights(Batch(batch.features, captions, regions), self._pool)

    def _shares(self, batch: ImageBatch) -> Array | None:
        """Return the expected shares of words for each image, if the model has a training summary."""
        summary = self.loaded.summary
        return summary and (summary.shares(batch.features) if batch.shares is None else batch.shares)

    def _search(self, batch: ImageBatch, shares: Array | None) -> tuple[Array, Array]:
        """Return all candidates of a batch of images, best first, and their log-probabilities; -inf if there is none.

        Shapes: shares (N, V) -> tokens (N, K, T), log_probs (N, K).
        """
        options, summary, arrays = self.loaded.config.decode, self.loaded.summary, [batch.noise_keys]
        check_has_regions(self.loaded, batch.regions)
        if summary is not None and shares is not None and options.guidance_weight:
            arrays.append(summary.regression.guidance(shares, options.guidance_weight))
        regions = read_regions(batch.regions, np.arange(len(batch.features)))
        tokens, log_probs = self._decode(self._method.decode, batch.features, *arrays, regions=regions)
        check_finite(self.loaded, log_probs[:, 0])
        if summary is None or shares is None or not options.similarity_weight:
            return tokens, log_probs
        return summary.regression.rerank(tokens, log_probs, shares, options.similarity_weight, options.length_penalty)


def row_batches(
    size: int,
    features: Features,
    regions: Features | None = None,
    rows: Array | None = None,
    shares: SharesOfRows | None = None,
) -> Iterator[ImageBatch]:
    """Read some rows of features, in ascending order, or all of them, in batches of `size`, named by their numbers.

    Shapes: features (M, F), regions (M, rows, columns, R), rows (R,) below M.
    """
    rows = np.arange(features.shape[0]) if rows is None else rows
    for first in range(0, len(rows), size):
        chosen = rows[first : first + size]
        yield ImageBatch(
            [str(row) for row in chosen.tolist()],
            features[chosen],
            chosen,
            None if regions is None else regions[chosen],
            None if shares is None else shares(chosen),
        )


def checked_arrays(loaded: LoadedModel, features: Any, regions: Any, where: str) -> tuple[Array, Array | None]:
    """Check features and regions of one image or of several, and return them as those of several.

    Shapes: features (N, F) and regions (N, rows, columns, R), or (F,) and (rows, columns, R) for one image.
    Raises: as `check_images`; UsageError for regions that the model does not use.
    """
    rows = np.asarray(features)
    rows = rows[None] if rows.ndim == 1 else rows
    grids = None if regions is None else np.asarray(regions)
    grids = grids[None] if grids is not None and grids.ndim == 3 else grids
    if grids is not None and not loaded.meta.region_dim:
        raise UsageError(f"{where}: regions= has no effect on a model without attention; leave it out")
    check_images(loaded, rows, where, regions=grids)
    return rows, grids


def check_images(
    loaded: LoadedModel, features: Features, where: str, limit: int | None = None, regions: Features | None = None
) -> None:
    """Check the first `limit` rows of features, and of regions if the model attends to them.

    Raises: DataError for numbers that are not finite floats, CheckpointError for another shape.
    """
    check_features(features, f"{where}: features", limit)
    check_width(loaded, features.shape[1], where)
    if regions is not None:
        check_region_values(regions, features, f"{where}: regions", limit)
        check_regions(loaded, regions.shape[-1], regions.shape[1:-1])


def check_has_regions(loaded: LoadedModel, regions: Array | None) -> None:
    """Raises: CheckpointError for a model with attention without regions."""
    if regions is None and loaded.meta.region_dim:
        raise CheckpointError(
            f"{loaded.path}: model.attention {loaded.config.model.attention}: expected features with image regions, "
            "got features alone; add the regions, or use a model without attention"
        )


def check_finite(loaded: LoadedModel, probabilities: Array) -> None:
    """Raises: CheckpointError for probabilities or log-probabilities that are not finite."""
    if not np.isfinite(probabilities).all():
        raise CheckpointError(
            f"{loaded.path}: expected finite log-probabilities from the model, got NaN or infinity: its parameters are "
            "too large; use another checkpoint"
        )


def missing_summary(loaded: LoadedModel) -> list[str]:
    """Return a warning if the options of a model need a training summary, which it does not have."""
    reason = without_summary(loaded)
    is_needed = reason and any(getattr(loaded.config.decode, name) for name in GUIDED)
    return [f"captions are ranked by log-probability alone: {reason}"] if is_needed else []
