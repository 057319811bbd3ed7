"""Captions of the inputs of `captioner sample`: photographs, the rows of a feature file, or a split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from captioner.cli import output
from captioner.cli.photo_names import photo_names

if TYPE_CHECKING:
    from captioner.data.corpus import Corpus
    from captioner.data.shard import Shard
    from captioner.inference.caption import Caption
    from captioner.inference.captioner import Captioner
    from captioner.inference.restore import LoadedModel
    from captioner.preparation.find_photos import Unreadable


def captions_of_photos(
    loaded: LoadedModel,
    photos: tuple[Path, ...],
    encoder: str | None,
    encoder_option: dict[str, str],
    number: int | None,
    n_best: int,
    attention: bool,
    shard: Shard | None,
) -> Iterable[Caption | Unreadable]:
    """Caption photographs, or one shard of them, with a warning for a model of generated scenes."""
    from captioner.inference.photos import caption_photos, open_encoder_of, photo_paths, photo_shard, photo_warning

    opened = open_encoder_of(loaded, encoder, encoder_option)
    paths = photo_paths(photo_names(photos))
    paths = paths if shard is None else photo_shard(paths, number, shard)
    captions = caption_photos(_open_captioner(loaded), opened, paths, n_best, number, attention)
    warning = photo_warning(loaded)
    return captions if warning is None else _with_warning(captions, warning)


def captions_of_features(
    loaded: LoadedModel, path: Path, number: int | None, n_best: int, attention: bool, shard: Shard | None
) -> Iterable[Caption]:
    """Caption the rows of a feature file, or one shard of them."""
    from captioner.inference.caption_features import caption_features

    return caption_features(_open_captioner(loaded), path, number, n_best, attention, shard)


def captions_of_split(
    loaded: LoadedModel,
    corpus: Corpus,
    name: str,
    is_own: bool,
    number: int | None,
    n_best: int,
    attention: bool,
    shard: Shard | None,
) -> Iterable[Caption]:
    """Caption a split of a data set, or one shard of it, which `is_own` if the model was trained on it."""
    from captioner.inference.caption_features import caption_split

    split = corpus.split(name)
    captioner = _open_captioner(loaded, corpus if is_own else None)
    return caption_split(captioner, split, number, n_best, corpus.vocab, attention, shard)


def _open_captioner(loaded: LoadedModel, corpus: Corpus | None = None) -> Captioner:
    from captioner.inference.load import captioner_of

    captioner = captioner_of(loaded, corpus)
    output.warnings(captioner.warnings)
    return captioner


def _with_warning(captions: Iterable[Caption | Unreadable], warning: str) -> Iterator[Caption | Unreadable]:
    """Print a warning before the first caption of a photograph."""
    from captioner.inference.caption import Caption

    first = True
    for caption in captions:
        if first and isinstance(caption, Caption):
            output.warnings([warning])
            first = False
        yield caption
