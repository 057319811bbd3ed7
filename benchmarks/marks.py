"""python -m benchmarks.marks MODEL --data FILE --pictures FOLDER --photos FOLDER: familiarity and ImageNet labels.

The pictures are of another kind than the photographs of FILE; the photographs, in `images`, have captions in
`captions.csv` (columns image and caption).
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import click
import numpy as np

import captioner
from captioner.arrays import Array
from captioner.captioning.load import open_corpus
from captioner.evaluation.evaluate import build_evaluation_set
from captioner.evaluation.scoring import score_captions
from captioner.metrics import NAMES, scores_from_sums

PATH = click.Path(path_type=Path)
LABELS, CONFIDENT, SAMPLES = 3, 0.5, 10_000


@click.command()
@click.argument("model", metavar="MODEL", type=PATH)
@click.option("--data", required=True, type=PATH, help="Data set of MODEL; its split val is compared.")
@click.option("--pictures", required=True, type=PATH, help="Pictures of another kind.")
@click.option("--photos", required=True, type=PATH, help="Photographs with captions.")
def main(model: Path, data: Path, pictures: Path, photos: Path) -> None:
    """Print the tables of docs/decoding.md."""
    loaded = captioner.load(model)
    corpus = open_corpus(loaded.loaded, data)
    val = corpus.split("val")
    own = list(loaded.caption_split(val, vocab=corpus.vocab))
    others, photographs = loaded.caption([pictures]), loaded.caption([photos / "images"], labels=LABELS)
    familiar, unfamiliar = (np.array([caption.familiarity for caption in captions]) for captions in (own, others))
    marked = np.array([caption.is_outside_domain for caption in own])
    sources = np.array(val.sources or [""] * len(own))
    for source in np.unique(sources):
        mine = sources == source
        print(
            f"val {source}: AUC {auc(familiar[mine], unfamiliar):.3f}, {marked[mine].mean():.1%} of {mine.sum()} marked"
        )
    print(f"pictures: {sum(bool(caption.is_outside_domain) for caption in others)} of {len(others)} marked")

    scored = score_captions(build_evaluation_set(corpus, "val")[0], "model", [caption.text for caption in own])
    cider = scores_from_sums(scored.rows)[:, NAMES.index("cider_d")]
    for source in np.unique(sources):
        mine = np.flatnonzero(sources == source)
        least = np.argsort(familiar[mine], kind="stable")[: len(mine) // 10]
        low, high = cider[mine[least]], np.delete(cider[mine], least)
        rng = np.random.default_rng(0)
        ratios = np.divide(*(rng.choice(part, (SAMPLES, len(part))).mean(axis=1) for part in (low, high)))
        bounds = " to ".join(f"{bound:.2f}" for bound in np.quantile(ratios, (0.025, 0.975)))
        means = f"least familiar tenth {100 * low.mean():.1f}, rest {100 * high.mean():.1f}"
        print(f"CIDEr-D of val {source}: {means}, ratio {low.mean() / high.mean():.2f} ({bounds})")

    references: dict[str, set[str]] = {}
    with open(photos / "captions.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            references.setdefault(row["image"], set()).update(re.findall("[a-z]+", row["caption"].lower()))
    hits = [  # fewer than LABELS where the others have a probability of 0 %
        [bool(forms(label.name) & references[Path(caption.image).name]) for label in caption.labels]
        for caption in photographs
    ]
    first = np.array([any(row[:1]) for row in hits])
    sure = np.array([any(label.probability >= CONFIDENT for label in caption.labels[:1]) for caption in photographs])
    print(
        f"labels in a reference: first {first.mean():.0%}, with a probability of {CONFIDENT:.0%} or more ",
        end="",
    )
    print(f"{first[sure].mean():.0%} of {sure.sum()}; any of {LABELS}: {np.mean([*map(any, hits)]):.0%} of images")


def auc(higher: Array, lower: Array) -> float:
    """Compute the probability that a number of `higher` exceeds one of `lower`; ties count half."""
    ordered = np.sort(higher)
    below = np.searchsorted(ordered, lower, "left") + np.searchsorted(ordered, lower, "right")
    return 1 - float(below.mean()) / (2 * len(ordered))


def forms(name: str) -> set[str]:
    """Return the last word of the name of a class, without what is in parentheses, in singular and plural."""
    word = re.findall("[a-z]+", re.sub(r"\(.*\)", "", name).lower())[-1]
    plain = {word, word.removesuffix("s"), word.removesuffix("es"), re.sub("ies$", "y", word)}
    return {*plain, f"{word}s", f"{word}es", re.sub("y$", "ies", word)}


if __name__ == "__main__":
    main()
