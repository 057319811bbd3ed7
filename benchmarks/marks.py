"""python -m benchmarks.marks MODEL --data FILE --teacher RUN --pictures FOLDER --photos FOLDER: marks and labels.

The pictures are of another kind than the photographs of FILE; the photographs, in `images`, have captions in
`captions.csv` (columns image and caption). RUN is a run on FILE with consensus re-ranking.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import click
import numpy as np

import captioner
from captioner.arrays import Array
from captioner.captioning.caption import MARKS, Caption
from captioner.captioning.captioner import Captioner
from captioner.captioning.load import captioner_of, open_corpus, open_run
from captioner.data.corpus import Corpus
from captioner.evaluation.evaluate import build_evaluation_set
from captioner.evaluation.scoring import score_captions
from captioner.metrics import NAMES, CiderD, scores_from_sums

PATH = click.Path(path_type=Path)
OUTSIDE, UNCERTAIN = MARKS
WITH_INDEX = {"decode.beam_width": 3, "decode.consensus": 1.0}
LABELS, CONFIDENT, RESAMPLES, TAIL = 3, 0.5, 1000, 0.2
"""AUC: captions of the fifth (`TAIL`) with the lowest CIDEr-D against the others."""


@click.command()
@click.argument("model", metavar="MODEL", type=PATH)
@click.option("--data", required=True, type=PATH, help="Data set of MODEL; its split val is compared.")
@click.option("--teacher", required=True, type=PATH, help="Run with consensus re-ranking.")
@click.option("--pictures", required=True, type=PATH, help="Pictures of another kind.")
@click.option("--photos", required=True, type=PATH, help="Photographs with captions.")
def main(model: Path, data: Path, teacher: Path, pictures: Path, photos: Path) -> None:
    """Print the tables of docs/decoding.md."""
    loaded = captioner.load(model)
    corpus = open_corpus(loaded.loaded, data)
    val = corpus.split("val")
    own = list(loaded.caption_split(val, vocab=corpus.vocab))
    others, photographs = loaded.caption([pictures]), loaded.caption([photos / "images"], labels=LABELS)
    familiar, unfamiliar = (np.array([caption.familiarity for caption in captions]) for captions in (own, others))
    marked = np.array([OUTSIDE in caption.marks for caption in own])
    sources = np.array(val.sources or [""] * len(own))
    for source in np.unique(sources):
        mine = sources == source
        print(
            f"val {source}: AUC {auc(familiar[mine], unfamiliar):.3f}, {marked[mine].mean():.1%} of {mine.sum()} marked"
        )
    print(f"pictures: {sum(OUTSIDE in caption.marks for caption in others)} of {len(others)} marked")
    uncertain = sum(UNCERTAIN in caption.marks for caption in others)
    print(f"pictures: {uncertain} of {len(others)} captions uncertain")

    scored = score_captions(build_evaluation_set(corpus, "val")[0], "model", [caption.text for caption in own])
    cider = scores_from_sums(scored.rows)[:, NAMES.index("cider_d")]
    numbers = {"familiarity": familiar} | predictors(own, corpus, captioner_of(open_run(teacher, WITH_INDEX), corpus))
    for source in np.unique(sources):
        mine, rng = np.flatnonzero(sources == source), np.random.default_rng(0)
        is_low = cider[mine] <= np.quantile(cider[mine], TAIL)
        for name, values in numbers.items():
            of_source = values[mine]
            drawn = rng.integers(len(mine), size=(RESAMPLES, len(mine)))
            areas = [auc(of_source[rows][~is_low[rows]], of_source[rows][is_low[rows]]) for rows in drawn]
            bounds = " to ".join(f"{bound:.2f}" for bound in np.quantile(areas, (0.025, 0.975)))
            order = np.argsort(of_source, kind="stable")
            low, high = np.split(100 * cider[mine[order]], [int(TAIL * len(mine))])
            area = auc(of_source[~is_low], of_source[is_low])
            print(f"{source}, {name}: AUC {area:.2f} ({bounds}); CIDEr-D {low.mean():.1f} and {high.mean():.1f}")
        below = np.array([UNCERTAIN in caption.marks for caption in own])[mine]
        low, high = 100 * cider[mine[below]], 100 * cider[mine[~below]]
        print(f"{source}: {below.mean():.1%} uncertain, CIDEr-D {low.mean():.1f}; of the others {high.mean():.1f}")

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


def predictors(captions: list[Caption], corpus: Corpus, teacher: Captioner) -> dict[str, Array]:
    """Return numbers that may predict the CIDEr-D of each caption of val without references."""
    val, vocab = corpus.split("val"), corpus.vocab
    alone = teacher.with_options({"decode.consensus": 0, "decode.guidance": 0})
    texts = [caption.text.split() for caption in captions]
    agreed = [[caption.text.split()] for caption in alone.caption_split(val, vocab=vocab)]
    rows, ids = np.arange(len(texts)), [[vocab.word_to_idx[word] for word in words] for words in texts]
    assert teacher.reranker is not None
    expected = [
        teacher.reranker.expected_cider(teacher.reranker.weights(np.asarray(val.features[row : row + 1])), [[ids[row]]])
        for row in rows
    ]
    log_probs = np.array([caption.log_prob for caption in captions])
    return {
        "log-probability": log_probs,
        "log-probability per word": log_probs / [len(words) + 1 for words in texts],
        "CIDEr-D against the caption of the teacher": CiderD(agreed).score(rows, texts),
        "expected CIDEr-D": np.ravel(expected),
        "expected similarity": np.array([caption.similarity for caption in captions]),
    }


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
