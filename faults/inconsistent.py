"""Files with a valid seal and inconsistent content: metadata, vocabularies, configs and ids."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from faults.hostile import Change, Target

Content = dict[str, Any]


def _text(change: Callable[[Content, Target], bytes]) -> Change:
    """Replace the text of `meta`."""

    def changed(target: Target) -> None:
        content = json.loads(target.file["meta"][()])
        target._replace(name="meta").put(data=np.bytes_(change(content, target)))

    return changed


def _meta(change: Callable[[Content, Target], object]) -> Change:
    """Change the JSON content of `meta`."""

    def changed(content: Content, target: Target) -> bytes:
        change(content, target)
        return json.dumps(content).encode()

    return _text(changed)


def _set(**values: Any) -> Change:
    return _meta(lambda content, target: content.update(values))


def _words(change: Callable[[list[Any], Target], object]) -> Change:
    return _meta(lambda content, target: change(content["words"], target))


def _config(old: str, new: str) -> Change:
    return _meta(lambda content, target: content.update(config=content["config"].replace(old, new)))


def _field(content: Content, target: Target) -> str:
    known = sorted(content)
    return known[target.below(len(known))]


JUNK: tuple[Any, ...] = (True, -1, 1.5, [], {}, 10**30, [[]], float("nan"), [None], {"a": 1}, ["\0"])
META: Mapping[str, Change] = {
    "meta: junk in a field": _meta(
        lambda content, target: content.update({_field(content, target): [JUNK[target.below(len(JUNK))], {}, 7]})
    ),
    "meta: a field less": _meta(lambda content, target: content.pop(_field(content, target))),
    "meta: deep JSON": _text(lambda content, target: b"[" * int(target.rng.integers(2000, 60_000))),
    "meta: cut JSON": _text(lambda content, target: json.dumps(content).encode()[: 1 + target.below(60)]),
    "meta: not UTF-8": _text(lambda content, target: json.dumps(content).encode().replace(b'": ', b'\xff": ', 1)),
    "meta: another type": _text(lambda content, target: (b"[]", b"null", b"7", b'"x"', b"{}", b"NaN")[target.below(6)]),
}
CHECKPOINT: Mapping[str, Change] = {
    **META,
    "meta: one field more": _set(more=1),
    "meta: a huge number": _text(
        lambda content, target: json.dumps(content).encode().replace(b'"step": ', b'"step": ' + b"9" * 5000)
    ),
    "words: one less": _words(lambda words, target: words.pop(target.below(len(words)))),
    "words: one more": _words(lambda words, target: words.append("zebra")),
    "words: one twice": _words(lambda words, target: words.__setitem__(-1, words[target.below(len(words) - 1)])),
    "words: a control character": _words(lambda words, target: words.__setitem__(target.below(len(words)), "\x1b[2J")),
    "words: a line end": _words(lambda words, target: words.__setitem__(target.below(len(words)), "a\nb")),
    "words: not a text": _words(lambda words, target: words.__setitem__(target.below(len(words)), 7)),
    "config: another width": _config("hidden_dim: 16", "hidden_dim: 17"),
    "config: a vast width": _config("hidden_dim: 16", "hidden_dim: 9000000000000"),
    "config: a vast data set": _config("train: 40", "train: 9000000000000"),
    "config: another cell": _config("cell: lstm", "cell: rnn"),
    "config: another precision": _config("dtype: float32", "dtype: float64"),
    "config: an unknown option": _config("seed: ", "sead: "),
    "config: an alias": _config("seed: 0", "seed: &a 0"),
    "config: a tag": _config("seed: 0", "seed: !!python/object/apply:os.system ['true']"),
    "config: not a number": _config("learning_rate: 0.001", "learning_rate: .nan"),
    "features: another width": _set(feature_dim=7),
    "features: a vast width": _set(feature_dim=1 << 60),
}


def _array(name: str, change: Callable[[np.ndarray, Target], object]) -> Change:
    """Change one array in place, or replace it with the array that `change` returns."""

    def changed(target: Target) -> None:
        target = target._replace(name=name)
        data = target.data
        found = change(data, target)
        target.put(data=data if found is None else found)

    return changed


def _put(value: int, column: int | None = None) -> Callable[[np.ndarray, Target], None]:
    """Set a random element, or a random row of a given column, to `value`."""

    def change(data: np.ndarray, target: Target) -> None:
        place = tuple(target.below(n) for n in data.shape)
        data[place if column is None else (place[0], column)] = value

    return change


DATA_SET: Mapping[str, Change] = {
    **META,
    "ids: beyond the vocabulary": _array("train/captions", _put(1 << 30)),
    "ids: below 0": _array("train/captions", _put(-1)),
    "ids: a second <START>": _array("train/captions", _put(1, column=1)),
    "ids: no <START>": _array("train/captions", _put(5, column=0)),
    "ids: of 64 bits": _array("train/captions", lambda data, target: data.astype("i8")),
    "ids: floats": _array("train/captions", lambda data, target: data.astype("f4")),
    "rows: beyond the images": _array("train/image_idxs", _put(1 << 30)),
    "rows: below 0": _array("train/image_idxs", _put(-5)),
    "texts: one more": _array("train/texts", lambda data, target: np.concatenate((data, data[:1]))),
    "images: one less": _array("train/images", lambda data, target: data[1:]),
    "words: one less": _array("vocabulary", lambda data, target: data[:-1]),
    "words: one twice": _array("vocabulary", lambda data, target: np.concatenate((data[:-1], data[:1]))),
    "splits: one that is not there": _meta(lambda content, target: content["splits"].append("dev")),
    "splits: a path": _meta(lambda content, target: content["splits"].__setitem__(0, "../train")),
    "splits: one twice": _meta(lambda content, target: content["splits"].append("train")),
    "splits: thousands": _meta(lambda content, target: content.update(splits=[f"s{i}" for i in range(9999)])),
}
