"""Read a prepared data set, or a shard of one, back into image records, so that it can be merged with others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from captioner.config.options import Prepare
from captioner.config.schema import Option, build, options
from captioner.data.concatenated import FileFeatures
from captioner.data.corpus import Corpus, Features
from captioner.data.prepared import prepared_shard
from captioner.data.readers import CaptionRecord
from captioner.data.shard import PreparedShard
from captioner.data.splits import ImageRecord
from captioner.errors import DataError
from captioner.storage.files import file_version
from captioner.text.tokenizer import tokenize
from captioner.text.vocabulary import Vocab


class MergeInput(NamedTuple):
    """A data set to merge: its captions in memory, and its features in the file.

    `images`, `features` and `regions` are by split. `unknown_words` is the number of captions with `<UNK>` whose words
    are not known, because the caption file had other words than the tokenizer; in a shard, all words are known.
    """

    path: Path
    encoder: str
    about: Mapping[str, Any]
    options: Prepare
    shard: PreparedShard | None
    images: Mapping[str, list[ImageRecord]]
    features: Mapping[str, Features]
    regions: Mapping[str, Features]
    unknown_words: int

    def count(self, name: str) -> int:
        """Return one of the counts of the preparation, or 0 if it is missing."""
        counts = self.about.get("counts")
        found = counts.get(name) if isinstance(counts, dict) else None
        return found if type(found) is int else 0


def read_input(path: Path) -> MergeInput:
    """Read and verify a data set. Raises: DataError if it is damaged, or was not written by `captioner prepare`."""
    version = file_version(path)
    corpus, shard = prepared_shard(path, memory_mib=0, regions=True)
    chosen = _stored_options(corpus.about, path)
    images, unknown = _image_records(corpus, shard, chosen.max_length)
    arrays: dict[str, dict[str, Features]] = {"features": {}, "regions": {}}
    for name, split in corpus.splits.items():
        for kind, opened in (("features", split.features), ("regions", split.regions)):
            if opened is not None:
                arrays[kind][name] = FileFeatures(path, f"{name}/{kind}", opened, version)
    return MergeInput(path, corpus.encoder, corpus.about, chosen, shard, images, **arrays, unknown_words=unknown)


def _image_records(
    corpus: Corpus, shard: PreparedShard | None, max_length: int
) -> tuple[dict[str, list[ImageRecord]], int]:
    """Rebuild the image records of each split, and count captions with unknown words."""
    found: dict[str, list[ImageRecord]] = {}
    unknown = 0
    for name, split in corpus.splits.items():
        texts, captions = split.texts or (), split.captions.tolist()
        stored = None if shard is None else shard.words.get(name) or [""] * len(captions)
        found[name] = images = [ImageRecord(image, name, row) for row, image in enumerate(split.image_ids)]
        for one in images:
            for row in split.caption_rows(one.row):
                words = stored[row] if stored else _words(texts[row], captions[row], corpus.vocab, max_length)
                unknown += not stored and bool(words) and corpus.vocab.unk in captions[row]
                one.captions.append(CaptionRecord(one.image, texts[row], name, "", words or None))
    return found, unknown


def _words(text: str, ids: Sequence[int], vocab: Vocab, max_length: int) -> str:
    """Return "" if the words of a caption are those of the tokenizer, else its stored words."""
    if vocab.ids(tokenize(text)[:max_length]) == ids[: ids.index(vocab.end) + 1]:
        return ""
    return " ".join(vocab.decode(ids))


def _stored_options(about: Mapping[str, Any], path: Path) -> Prepare:
    """Return the options of `captioner prepare` that a data set stores. Raises: DataError for invalid ones."""
    stored = about.get("options")
    if not isinstance(stored, dict):
        raise DataError(f"{path}: about: expected the options of `captioner prepare`, got none; prepare it again")
    values = {}
    for option in options(Prepare):
        value = stored.get(option.path, option.default)
        if not _is_valid(option, value):
            raise DataError(f"{path}: about: {option.path}: expected {option.expected()}, got {value!r:.60}")
        values[option.path] = Path(value) if option.kind is Path and value is not None else value
    chosen: Prepare = build(values, Prepare)
    return chosen


def _is_valid(option: Option, value: Any) -> bool:
    kinds: Mapping[type, tuple[type, ...]] = {float: (int, float), Path: (str,)}
    typed = value is None or type(value) in kinds.get(option.kind, (option.kind,))
    return typed and option.admits(value)
