"""python -m benchmarks.own_words DATA RUNS: train the config `photos` on few photographs in other words.

For each of three seeds, 200 validation photographs of Flickr8k are drawn, which `models/everyday.h5` has not learned.
In their captions, `WORDS` are replaced by others. The first 20, 60 and 200 are trained on (a tenth of them is `val`),
and the model is scored on the other 800 in these words, and in the original words on these and on COCO. DATA and RUNS
are those of benchmarks.few_photos; two processes can measure different rows, once the row `model` exists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from benchmarks.few_photos import Images, from_nothing, images_of, kept, min_count, prepared, scores_of, trained
from benchmarks.flickr8k import SEEDS, Workspace, command
from benchmarks.results import Row, mean_and_spread, table
from benchmarks.session import ROOT

MODEL = ROOT / "models" / "everyday.h5"
_PAIRS = (
    "man=gentleman men=gentlemen woman=lady women=ladies boy=lad boys=lads girl=lass girls=lasses dog=hound dogs=hounds"
    " child=youngster children=youngsters people=visitors person=visitor grass=lawn shirt=top beach=shore field=meadow"
    " street=road bike=bicycle jumps=leaps jumping=leaping runs=races running=racing"
)
WORDS = dict(pair.split("=") for pair in _PAIRS.split(" "))
POOL = 200


class Recipe(NamedTuple):
    """A row of the table: its title, the number of photographs, and the config and its options, if it is trained."""

    title: str
    photos: int = 0
    config: str = ""
    options: Sequence[str] = ()


ROWS = {
    "model": Recipe("`models/everyday.h5`"),
    "20": Recipe("`photos`, 20 photographs", 20, "photos"),
    "60": Recipe("`photos`, 60 photographs", 60, "photos"),
    "200": Recipe("`photos`, 200 photographs", 200, "photos"),
    "nothing": Recipe("from nothing, 200 photographs", 200, *from_nothing(200)),
}
SCORES = ("own", "flickr8k", "coco")

Scored: TypeAlias = Mapping[str, Sequence[Mapping[str, float]]]
"""The CIDEr-D in own words, and in the original words on each source, for each seed, by row."""


def in_own_words(caption: str) -> str:
    """Replace the `WORDS` of a caption."""
    return re.sub("[a-z]+", lambda word: WORDS.get(word[0], word[0]), caption.lower())


def fine_tuning_split(images: Images, seed: int, photos: int) -> Images:
    """Draw photographs for fine-tuning, a tenth of them as `val`; those outside the `POOL` are `test`."""
    val = [image for image in images if image["split"] == "val"]
    order = np.random.default_rng(seed).permutation(len(val)).tolist()
    splits = {place: "val" if i < photos // 10 else "train" for i, place in enumerate(order[:photos])}
    splits |= dict.fromkeys(order[POOL:], "test")
    return [{**val[place], "split": split} for place, split in splits.items()]


def own_data(workspace: Workspace, seed: int, photos: int) -> Path:
    """Prepare the photographs for fine-tuning and those that it is scored on, in own words."""
    images = [
        {**image, "sentences": [{"raw": in_own_words(sentence["raw"])} for sentence in image["sentences"]]}
        for image in fine_tuning_split(images_of(workspace, "flickr8k"), seed, photos)
    ]
    return prepared(workspace, f"own-{photos}-{seed}", {"flickr8k": images}, *min_count(photos))


def kept_data(workspace: Workspace, source: str, seed: int) -> Path:
    """Prepare the photographs of Flickr8k that are scored, or those of COCO, as `test` in the original words."""
    images = images_of(workspace, source)
    train = [image for image in images if image["split"] == "train"]
    if source == "flickr8k":
        test = [image for image in fine_tuning_split(images, seed, 0) if image["split"] == "test"]
    else:
        test = [{**image, "split": "test"} for image in images if image["split"] == "val"]
    return prepared(workspace, f"kept-{source}-{seed}", {source: [*train, *test]})


def measure(workspace: Workspace, name: str, seed: int) -> dict[str, float]:
    """Train on the photographs of a row and a seed, unless this is done, and score."""
    _, photos, config, options = ROWS[name]
    data, run = own_data(workspace, seed, photos or POOL), MODEL
    if config:
        run, _ = trained(workspace, f"own-{name}", seed, data, config, options)
    own = scores_of(workspace, run, data)
    original = {
        source: scores_of(workspace, run, kept_data(workspace, source, seed)) for source in ("flickr8k", "coco")
    }
    return {"own": own["cider_d"]} | {source: scores["cider_d"] for source, scores in original.items()}


def rows(scored: Scored) -> Iterator[Row]:
    """Yield means over seeds ± half the range, in percent; the last column is the part of the model's score on COCO."""
    for name, runs in scored.items():
        columns = [[run[score] for run in runs] for score in SCORES]
        columns += [[run["coco"] / model["coco"] for run, model in zip(runs, scored["model"], strict=True)]]
        yield ROWS[name].title, *(mean_and_spread([100 * value for value in values]) for values in columns)


@command(ROWS, __doc__)
def main(workspace: Workspace, names: tuple[str, ...]) -> None:
    """Train and score; print the CIDEr-D in own and in original words."""
    scored = {}
    for name in dict.fromkeys(("model", *(names or ROWS))):
        files = [workspace.runs / f"scores-own-{name}-{seed}.json" for seed in SEEDS]
        scored[name] = [kept(file, measure, workspace, name, seed) for file, seed in zip(files, SEEDS, strict=True)]
    head = "model | own words | Flickr8k, original words | COCO, original words | of COCO kept, %"
    print(table(head, rows(scored)))


if __name__ == "__main__":
    main()
