"""python -m benchmarks.own_words DATA RUNS: fine-tune the model of the repository on few photographs in other words.

For each of three seeds, 200 validation photographs of Flickr8k are drawn, which the model has not learned. In their
captions, `WORDS` are replaced by others. The model is fine-tuned on the first 20, 60 and 200 (a tenth of them is
`val`), and scored on the other 800 in these words, and in the original words on these and on COCO. DATA has
flickr8k.json and coco.json (Karpathy's format), and flickr8k.h5 and coco.h5 (data sets with their features).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from benchmarks.flickr8k import SEEDS, Workspace, command, set_options
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
    photos: int
    config: str = ""
    options: tuple[str, ...] = ()


FINETUNED = f"train.init_from={MODEL}"
LONGER = (FINETUNED, "train.epochs=30", "train.learning_rate=5e-4", "train.patience=null")
ROWS = {
    "model": Recipe("`models/everyday.h5`", 0),
    "20": Recipe("`photos-finetune`, 20 photographs", 20, "photos-finetune", (FINETUNED,)),
    "60": Recipe("`photos-finetune`, 60 photographs", 60, "photos-finetune", (FINETUNED,)),
    "200": Recipe("`photos-finetune`, 200 photographs", 200, "photos-finetune", (FINETUNED,)),
    "longer-60": Recipe("the same with 30 epochs, 60 photographs", 60, "photos-finetune", LONGER),
    "longer-200": Recipe("the same with 30 epochs, 200 photographs", 200, "photos-finetune", LONGER),
    "scratch": Recipe("`photos`, 200 photographs, without the model", 200, "photos"),
}
SCORES = ("own", "flickr8k", "coco")

Images: TypeAlias = list[dict[str, Any]]
Scored: TypeAlias = Mapping[str, Sequence[Mapping[str, float]]]
"""The CIDEr-D in own words, and in the original words on each source, for each seed, by row."""


def images_of(workspace: Workspace, source: str) -> Images:
    """Return the image records of a source."""
    images: Images = json.loads((workspace.data / f"{source}.json").read_text())["images"]
    return images


def prepared(workspace: Workspace, name: str, sources: Mapping[str, Images], *options: str) -> Path:
    """Prepare images of some sources with their features, unless the data set exists."""
    folder = workspace.runs / "data" / name
    output = folder / "data.h5"
    if not output.exists():
        folder.mkdir(parents=True, exist_ok=True)
        words: list[object] = [*options]
        for source, images in sources.items():  # the name of the file is that of the source of the photographs
            (folder / f"{source}.json").write_text(json.dumps({"images": images}))
            words += [folder / f"{source}.json", "--features", workspace.data / f"{source}.h5"]
        workspace.captioner("prepare", *words, "--output", output)
    return output


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
    return prepared(workspace, f"own-{photos}-{seed}", {"flickr8k": images}, "--min-count", "2")


def kept_data(workspace: Workspace, seed: int) -> Path:
    """Prepare the photographs of Flickr8k that are scored, and those of COCO, as `test` in the original words."""
    flickr8k, coco = (images_of(workspace, source) for source in ("flickr8k", "coco"))
    train = [image for image in flickr8k if image["split"] == "train"]
    test = [image for image in fine_tuning_split(flickr8k, seed, 0) if image["split"] == "test"]
    coco = [{**image, "split": "test" if image["split"] == "val" else "train"} for image in coco]
    return prepared(workspace, f"kept-{seed}", {"flickr8k": [*train, *test], "coco": coco})


def measure(workspace: Workspace, name: str, seed: int) -> dict[str, float]:
    """Fine-tune on the photographs of a row and a seed, unless the run is finished, and score."""
    _, photos, config, options = ROWS[name]
    data, run = own_data(workspace, seed, photos or POOL), MODEL
    if config:
        steps = -(-5 * (photos - photos // 10) // 64)  # the warm-up is one epoch
        words = set_options([f"train.warmup_steps={steps}", "threads=1", *options])
        run = workspace.train(f"own-{name}", seed, "--data", data, *words, config=config)
    own = _scores(workspace, run, data)
    kept = _scores(workspace, run, kept_data(workspace, seed))["sources"]
    return {"own": own["cider_d"]} | {source: kept[source]["cider_d"] for source in kept}


def _scores(workspace: Workspace, run: Path, data: Path) -> dict[str, Any]:
    words = "--data", data, "--split", "test", "--json"
    scores: dict[str, Any] = json.loads(workspace.captioner("evaluate", run, *words))
    return scores


def rows(scored: Scored) -> Iterator[Row]:
    """Yield means over seeds ± half the range, in percent."""
    for name, runs in scored.items():
        yield ROWS[name].title, *(mean_and_spread([100 * run[score] for run in runs]) for score in SCORES)


@command(ROWS, __doc__)
def main(workspace: Workspace, names: tuple[str, ...]) -> None:
    """Fine-tune and score; print the CIDEr-D in own and in original words."""
    scored = {name: [measure(workspace, name, seed) for seed in SEEDS] for name in names or ROWS}
    print(table("model | own words | Flickr8k, original words | COCO, original words", rows(scored)))


if __name__ == "__main__":
    main()
