"""The Captioner of photographs: one with the image encoder of its training images."""

from __future__ import annotations

import os
import warnings
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

import numpy as np

from captioner.arrays import Array
from captioner.captioning.caption import Attention, Caption, NextWord, NextWords
from captioner.captioning.captioner import Captioner, CaptionOptions, ImageBatch, check_finite, check_has_regions
from captioner.captioning.decoding import word_ids
from captioner.captioning.saved_model import LoadedModel
from captioner.data.corpus import read_regions
from captioner.data.vocabulary import tokenize
from captioner.errors import DataError, UsageError
from captioner.model.captioning_model import State, StepFunction

if TYPE_CHECKING:
    from captioner.photos.encoders import Encoder
    from captioner.photos.photographs import Known

PHOTO_BATCH = 16
"""Photographs per thread that are decoded at a time: few, so that the first captions appear soon."""
Photo = str | os.PathLike[str]
Photos = list[Photo] | tuple[Photo, ...]


class PhotoCaptioner(Captioner):
    """A Captioner with the encoder of the training images, which is opened for the first photograph.

    `recipe` replaces that of the encoder.

    Raises: as `Captioner`.
    """

    def __init__(self, loaded: LoadedModel, recipe: str | None = None) -> None:
        super().__init__(loaded)
        self._recipe = recipe
        self._encoders: list[Encoder] = []  # one, once it is opened, for all copies of `with_options`

    @overload
    def caption(self, images: Photo, **options: Unpack[CaptionOptions]) -> Caption | Any: ...
    @overload
    def caption(
        self,
        images: Photos | None = None,
        *,
        features: Array | None = None,
        regions: Array | None = None,
        **options: Unpack[CaptionOptions],
    ) -> list[Caption]: ...
    def caption(
        self,
        images: Photo | Photos | None = None,
        *,
        features: Array | None = None,
        regions: Array | None = None,
        **options: Unpack[CaptionOptions],
    ) -> Caption | list[Caption]:
        """Caption a photograph, a list of photographs, or rows of image features, as `Captioner.caption`.

        A folder, alone or in a list, is a list of its photographs, as for `captioner caption`. A photograph is encoded
        by the encoder of the training images. A model of generated scenes warns if it is given photographs.

        Raises: as `Captioner.caption`; DataError for a photograph that cannot be read; UsageError for an encoder that
        is not found.
        """
        captioner = self.with_caption_options(options)
        captions = list(captioner.captions(captioner._images("caption", images, features, regions)))
        is_single = isinstance(images, str | os.PathLike) and not os.path.isdir(images)
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
        loaded, vocab = self.loaded, self.loaded.vocab
        if n < 1:
            raise UsageError(f"next_words: n: expected at least 1, got {n}")
        if isinstance(words, str):
            words = tokenize(words)
        ids = [vocab.start, *word_ids(words, vocab)]
        batches = list(self._images("next_words", image, features, regions))
        if (count := sum(len(batch.names) for batch in batches)) != 1:
            raise UsageError(f"next_words: expected one image, got {count:,}")
        (batch,) = batches
        check_has_regions(loaded, batch.regions)

        def read(step: StepFunction, state: State) -> tuple[Array, Array]:
            for token in ids:
                log_probs, state = step(np.array([token]), state)
            return np.argsort(-log_probs, axis=1, kind="stable")[:, :n], np.exp(log_probs.astype(float))

        (best,), (probabilities,) = self._decode(
            read, batch.features, regions=read_regions(batch.regions, np.arange(1))
        )
        check_finite(loaded, probabilities)
        candidates = [NextWord(vocab.words[i], float(probabilities[i])) for i in best.tolist()]
        if batch.regions is None:
            return NextWords(candidates)
        (weights,) = self.attention_weights(batch, np.array([[*ids, vocab.end]]))
        return NextWords(candidates, Attention([candidates[0].word], weights[-1:], batch.regions.shape[1:3]))

    def _images(
        self, where: str, images: Photo | Photos | None, features: Array | None, regions: Array | None
    ) -> Iterator[ImageBatch]:
        """Return the images of a call: photographs, with a warning if they are of no use, or rows of features.

        Raises: UsageError unless they are one of them; as `checked_arrays`; DataError for the first photograph that
        cannot be read, when it is reached.
        """
        if (images is None) == (features is None):
            raise UsageError(f"{where}: expected photographs or features=, one of them")
        if features is not None:
            return self.rows(where, features, regions)
        if regions is not None:
            raise UsageError(f"{where}: regions= needs features=; photographs have the regions of their encoder")
        photos = [images] if isinstance(images, str | os.PathLike) else images or []
        for warning in photo_warnings(self.loaded) if photos else ():
            warnings.warn(warning, stacklevel=3)
        from captioner.photos.photographs import photo_paths  # needs Pillow

        return map(_readable, self.photographs(photo_paths(photos)))

    @property
    def encoder(self) -> Encoder:
        """The encoder of the training images, opened once. Raises: UsageError when it is not found."""
        from captioner.photos.photographs import open_encoder_of  # needs Pillow

        if not self._encoders:
            self._encoders.append(open_encoder_of(self.loaded, self._recipe))
        return self._encoders[0]

    def photographs(
        self, photos: Iterable[Photo | Known | DataError], known: Container[bytes] = ()
    ) -> Iterator[ImageBatch | Known | DataError]:
        """Encode photographs, in order, as they are iterated.

        The error of a photograph that cannot be read is yielded in its place, and names it; so are errors in `photos`,
        and photographs whose picture has a digest in `known`.

        Raises: as `encoder`.
        """
        from captioner.photos.photographs import photo_batches  # needs Pillow

        size = min(PHOTO_BATCH * self.loaded.config.threads, self.batch_size)
        paths = (Path(photo) if isinstance(photo, str | os.PathLike) else photo for photo in photos)
        return photo_batches(self.loaded, self.encoder, paths, size, known)


def _readable(batch: ImageBatch | Known | DataError) -> ImageBatch:
    if isinstance(batch, DataError):
        raise batch
    assert isinstance(batch, ImageBatch), "none is known"
    return batch


def photo_warnings(loaded: LoadedModel) -> list[str]:
    """Return a warning for photographs that are given to a model of generated scenes."""
    problem = (
        f"{loaded.path} was trained on generated scenes of coloured shapes, so its captions do not describe "
        "photographs; train on photographs with captions: captioner prepare --help"
    )
    return [problem] if loaded.config.data.source == "scenes" else []
