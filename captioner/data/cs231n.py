"""Source `cs231n`: the data of CS231n, assignment 3 (COCO captions, VGG-16 features), or a folder of its layout."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from captioner.arrays import Array
from captioner.data.corpus import Corpus, Features, Split, validate
from captioner.data.features import MEMORY_MIB, memory_of, open_features
from captioner.data.vocabulary import Vocab
from captioner.errors import DataError, quoted
from captioner.files.hdf5 import open_dataset
from captioner.files.user_files import read_text

CAPTIONS, VOCAB = "coco2014_captions.h5", "coco2014_vocab.json"
SPLITS = ("train", "val")
ENCODERS = {False: "vgg16_fc7", True: "vgg16_fc7_pca"}
CAPTIONS_LIMIT = 1 << 30


def cs231n(
    root: str | os.PathLike[str] | None, *, pca: bool = True, memory_mib: int = MEMORY_MIB, regions: bool = False
) -> Corpus:
    """Load the splits train and val of the assignment; what exceeds `memory_mib` in total is read on demand.

    With `regions`, the image regions are loaded too, if the folder has their files.

    Raises: DataError when a file is missing or damaged, or the files are inconsistent.
    """
    contents = [CAPTIONS, VOCAB, *(_features_file(split, pca) for split in SPLITS)]
    expected = f"expected a folder with {', '.join(contents)}"
    if root is None or not os.path.isdir(root):
        raise DataError(f"cs231n: {expected}, got {root}, which is not a folder")
    folder = Path(root)
    missing = [name for name in contents if not os.path.exists(folder / name)]
    if missing:
        others = all(os.path.exists(folder / _features_file(split, not pca)) for split in SPLITS)
        hint = f" (features {ENCODERS[not pca]} found: try -o data.cs231n.pca={str(not pca).lower()})" if others else ""
        raise DataError(f"{folder}: {expected}; missing: {', '.join(missing)}{hint}")
    vocab = read_vocab(folder / VOCAB)
    regions = regions and any(os.path.exists(folder / _regions_file(split)) for split in SPLITS)
    splits: dict[str, Split] = {}
    for name in SPLITS:
        splits[name] = split = _read_split(folder, name, pca, memory_mib, regions)
        memory_mib = max(0, memory_mib - memory_of(split.features, split.regions))
    return validate(Corpus(vocab, splits, f"cs231n:{ENCODERS[pca]}"), where=str(folder))


def read_folder(
    root: str | os.PathLike[str] | None, *, pca: bool = True, memory_mib: int = MEMORY_MIB
) -> dict[str, Any]:
    """Load the folder as the dict of the assignment: idx_to_word, word_to_idx, and these arrays for each split.

    Shapes: train_captions (K, T) int32, train_image_idxs (K,) int32, train_features (M, F), train_urls (M,) str.
    Raises: DataError, as `cs231n`.
    """
    corpus = cs231n(root, pca=pca, memory_mib=memory_mib)
    data: dict[str, Any] = {"idx_to_word": list(corpus.vocab.words), "word_to_idx": dict(corpus.vocab.word_to_idx)}
    for name, split in corpus.splits.items():
        data[f"{name}_captions"] = split.captions
        data[f"{name}_image_idxs"] = split.image_idxs
        data[f"{name}_features"] = split.features
        data[f"{name}_urls"] = np.asarray(split.image_ids)
    return data


def read_vocab(path: Path) -> Vocab:
    """Read a vocabulary from a JSON object with the list `idx_to_word`, which alone has a say.

    Raises: DataError for other content.
    """
    try:
        content = json.loads(read_text(path, "a vocabulary"))
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{path}: invalid JSON: {problem}") from problem
    words = content.get("idx_to_word") if isinstance(content, dict) else None
    if not isinstance(words, list):
        raise DataError(f"{path}: expected an object with the list idx_to_word, got {quoted(content)}")
    for i, word in enumerate(words):
        if not isinstance(word, str):
            raise DataError(f"{path}: idx_to_word[{i}]: expected a word, got {quoted(word)}")
    return Vocab.read(words, path)


def _read_split(folder: Path, split: str, pca: bool, memory_mib: int, regions: bool) -> Split:
    features = open_features(folder / _features_file(split, pca), memory_mib=memory_mib)
    left = max(0, memory_mib - memory_of(features))
    return Split(
        captions=_read_ids(folder / CAPTIONS, f"{split}_captions", ndim=2),
        image_idxs=_read_ids(folder / CAPTIONS, f"{split}_image_idxs", ndim=1),
        features=features,
        image_ids=_read_image_ids(folder / f"{split}2014_urls.txt", split, features),
        regions=open_features(folder / _regions_file(split), "regions", left, ndim=4) if regions else None,
    )


def _read_ids(path: Path, name: str, ndim: int) -> Array:
    stored = open_dataset(path, name, numbers="iu", ndim=ndim)
    if stored.nbytes > CAPTIONS_LIMIT:
        raise DataError(f"{stored.where}: expected at most {CAPTIONS_LIMIT} bytes, got {stored.nbytes}")
    ids = stored.read()
    narrow = ids.astype(np.int32)
    # keep ids that overflow int32: validation reports them with their row
    return narrow if np.array_equal(narrow, ids) else ids


def _read_image_ids(path: Path, split: str, features: Features) -> list[str]:
    images = features.shape[0]
    if not os.path.exists(path):
        return [f"{split}-{row:05d}" for row in range(images)]
    urls = [line.strip() for line in read_text(path).rstrip().split("\n")]
    first = {url: row for row, url in reversed([*enumerate(urls)])}
    ids = [url if first[url] == row else f"{url}#{split}-{row:05d}" for row, url in enumerate(urls)]
    if len(ids) != images:
        raise DataError(f"{path}: expected {images} lines, one per row of the features, got {len(ids)}")
    return ids


def _features_file(split: str, pca: bool) -> str:
    return f"{split}2014_{ENCODERS[pca]}.h5"


def _regions_file(split: str) -> str:
    return f"{split}2014_regions.h5"
